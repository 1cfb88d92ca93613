# What backup may do in Vault: make data keys for the backups it writes. It has no
# decrypt on purpose: who can write backups, or takes over the machine that does,
# cannot read the ones written before. Restores log in as backup-restore.

path "transit/keys/backup" {
  capabilities = ["create", "update"]
  allowed_parameters = {
    "type" = ["aes256-gcm96"]
  }
}

path "transit/datakey/plaintext/backup" {
  capabilities = ["update"]
}
