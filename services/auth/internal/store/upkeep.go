package store

// InstallationKey keeps a wrapped key under a name unless there is one, and reads the one that stays.
func (t *Tx) InstallationKey(name, wrapped string) *Rows[string] {
	if wrapped != "" {
		t.exec("INSERT INTO installation_keys (name, wrapped) VALUES ($1, $2) ON CONFLICT DO NOTHING", name, wrapped)
	}
	return scalars[string](t, "SELECT wrapped FROM installation_keys WHERE name = $1", name)
}

// Purge forgets what is past its retention and says how many rows that were.
func (t *Tx) Purge() *Rows[int64] {
	return scalars[int64](t, "SELECT purge($1) + purge_messages($1) + purge_codes($1) + purge_ceremonies($1)", t.at())
}
