# What records may do in Vault. It is the only identity that unwraps patients' data keys (claim DTD-22).

# One key-encryption key per practice, made when the practice appears. "update" is
# what Vault asks for to make a key. The glob also covers .../config, .../trim and .../rotate,
# since a pattern cannot end in a name after a "*". allowed_parameters leaves a plain AES key,
# rotation, and the three numbers that a trim takes: no key of a practice can be made exportable,
# deletable, readable as a backup or rotated by Vault itself from here. The newest version of a key
# stays whatever records does, but what is wrapped under the older ones is lost with a trim: records
# trims only what it has rewrapped, or what an erasure or a practice's exit is to destroy.
path "transit/keys/practice-*" {
  capabilities = ["create", "read", "update"]
  allowed_parameters = {
    "type"                   = ["aes256-gcm96"]
    "min_decryption_version" = []
    "min_encryption_version" = []
    "min_available_version"  = []
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

# Certificates of destruction. Reading the key gives its public halves, which verifiers need.
path "transit/keys/records-certificates" {
  capabilities = ["create", "read", "update"]
  allowed_parameters = {
    "type" = ["ed25519"]
  }
}

path "transit/sign/records-certificates" {
  capabilities = ["update"]
}
