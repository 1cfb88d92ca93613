# What a restore may do in Vault: unwrap the data keys of backups, and nothing
# else. It makes no keys. Give its certificate only to where restores run.

path "transit/decrypt/backup" {
  capabilities = ["update"]
}
