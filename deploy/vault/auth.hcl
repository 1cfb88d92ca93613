# What auth may do in Vault: seal what it stores about users (TOTP secrets, contact data)
# under its own key. Patients' keys are out of its reach.

path "transit/keys/auth-secrets" {
  capabilities = ["create", "update"]
  allowed_parameters = {
    "type" = ["aes256-gcm96"]
  }
}

path "transit/encrypt/auth-secrets" {
  capabilities = ["update"]
}

path "transit/decrypt/auth-secrets" {
  capabilities = ["update"]
}
