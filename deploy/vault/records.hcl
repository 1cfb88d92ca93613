# What records may do in Vault. It is the only identity that unwraps patients' data keys (claim DTD-22).

# One key-encryption key per practice, made when the practice appears. "update" is
# what Vault asks for to make a key. The glob also covers .../config, .../trim and .../rotate:
# allowed_parameters leaves a plain AES key and rotation, so that no key of a
# practice can be made exportable, deletable or be trimmed from here.
path "transit/keys/practice-*" {
  capabilities = ["create", "read", "update"]
  allowed_parameters = {
    "type" = ["aes256-gcm96"]
  }
}

# A new patient's data key, plain to use and wrapped to store.
path "transit/datakey/plaintext/practice-*" {
  capabilities = ["update"]
}

# Index keys are wrapped, data keys and index keys unwrapped. Without "create",
# encrypting under a misspelt name is an error and not a new key.
path "transit/encrypt/practice-*" {
  capabilities = ["update"]
}

path "transit/decrypt/practice-*" {
  capabilities = ["update"]
}

# After a rotation, wrapped keys move to the new version without becoming plain.
path "transit/rewrap/practice-*" {
  capabilities = ["update"]
}
