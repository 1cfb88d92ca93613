# What audit may do in Vault: sign checkpoints with a key that never leaves it. Who has
# taken over the audit database still cannot sign another history for offline use, and
# every signature stands in Vault's own audit log. And seal what strangers and their readers write in
# reports of vulnerabilities.

# Reading the key gives its public halves, which verifiers need.
path "transit/keys/audit-checkpoint" {
  capabilities = ["create", "read", "update"]
  allowed_parameters = {
    "type" = ["ed25519"]
  }
}

path "transit/sign/audit-checkpoint" {
  capabilities = ["update"]
}

path "transit/keys/audit-reports" {
  capabilities = ["create", "update"]
  allowed_parameters = {
    "type" = ["aes256-gcm96"]
  }
}

path "transit/encrypt/audit-reports" {
  capabilities = ["update"]
}

path "transit/decrypt/audit-reports" {
  capabilities = ["update"]
}

# Seal what people write about incidents and breaches.
path "transit/keys/audit-incidents" {
  capabilities = ["create", "update"]
  allowed_parameters = {
    "type" = ["aes256-gcm96"]
  }
}

path "transit/encrypt/audit-incidents" {
  capabilities = ["update"]
}

path "transit/decrypt/audit-incidents" {
  capabilities = ["update"]
}
