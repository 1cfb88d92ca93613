package stack

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Settings replace or add values in the configuration of services: service, then
// key with dots, such as {"auth": {"limits.requests_per_minute": 100000}}.
type Settings map[string]map[string]any

type tree = map[string]any

// services that speak gRPC, each with a database of its own.
var services = []string{"auth", "records", "audit", "backup"}

// configure writes one file for each service and, with the owner's identity, one
// for each migration.
func (p *Place) configure(settings Settings) error {
	for service := range settings {
		if service != "gateway" && !slices.Contains(services, service) {
			return fmt.Errorf("settings for %q: there is no such service", service)
		}
	}
	// The inbox takes any token; the setting still wants a file, as in production.
	if err := os.WriteFile(p.smsToken(), []byte("local\n"), 0o600); err != nil {
		return fmt.Errorf("token of the provider of text messages: %w", err)
	}
	files := map[string]tree{"gateway": p.gatewayConfig()}
	for _, service := range services {
		files[service] = p.serviceConfig(service, service, service+"_app")
		files[service+"-migrate"] = p.serviceConfig(service, service+"-migrate", service+"_owner")
	}
	// For `carekeep audit verify --database`.
	files["audit-verify"] = tree{
		"trust_domain": TrustDomain, "tls": p.identity("audit-verify"),
		"database": tree{"host": "127.0.0.1", "port": p.Ports.Postgres, "database": "audit", "user": "audit_verify"},
	}
	for name, content := range files {
		for _, key := range slices.Sorted(maps.Keys(settings[strings.TrimSuffix(name, "-migrate")])) {
			if err := set(content, key, settings[strings.TrimSuffix(name, "-migrate")][key]); err != nil {
				return fmt.Errorf("settings for %s: %w", name, err)
			}
		}
		raw, err := yaml.Marshal(content)
		if err != nil {
			return fmt.Errorf("configuration of %s: %w", name, err)
		}
		if err := os.WriteFile(p.ConfigFile(name), raw, 0o600); err != nil {
			return fmt.Errorf("configuration of %s: %w", name, err)
		}
	}
	return nil
}

// set puts a value at a dotted key, making the maps on the way.
func set(into tree, key string, value any) error {
	first, rest, deeper := strings.Cut(key, ".")
	if !deeper {
		into[first] = value
		return nil
	}
	if into[first] == nil {
		into[first] = tree{}
	}
	next, ok := into[first].(tree)
	if !ok {
		return fmt.Errorf("%s is a value, not a group", first)
	}
	return set(next, rest, value)
}

func (p *Place) identity(name string) tree {
	files := p.files(name)
	return tree{"certificate": files.Certificate, "key": files.Key, "authorities": files.Authorities}
}

func (p *Place) serviceConfig(service, identity, role string) tree {
	config := tree{
		"listen":       p.Address(service),
		"trust_domain": TrustDomain,
		"tls":          p.identity(identity),
		"callers":      tree{"keys": p.callerKeys()},
		"database":     tree{"host": "127.0.0.1", "port": p.Ports.Postgres, "database": service, "user": role},
		"broker":       tree{"url": "tls://" + p.Address("broker")},
		"transit":      tree{"address": "https://" + p.Address("transit"), "role": service},
	}
	switch service {
	case "auth":
		maps.Copy(config, p.authConfig())
	case "records":
		maps.Copy(config, tree{"fhir": tree{"listen": p.Address("fhir"), "base": p.URL() + "/fhir/R4"}, "auth": p.Address("auth")})
	case "audit":
		maps.Copy(config, tree{
			"checkpoint_dir": p.Checkpoints(), "log_name": "carekeep.local/audit",
			"reports": tree{"nation": "england-and-wales"}, "tiles": tree{"listen": p.Address("log")},
			"response": tree{"auth": p.Address("auth")},
		})
	case "backup":
		maps.Copy(config, tree{
			"replication": tree{"host": "127.0.0.1", "port": p.Ports.Postgres, "user": "backup_repl"},
			"storage_dir": p.Backups(),
			"restore": tree{
				"root": p.Restores(), "tls": p.identity("backup-restore"), "transit": tree{"role": "backup-restore"},
			},
		})
	}
	return config
}

func (p *Place) authConfig() tree {
	return tree{
		"signing_key": p.SigningKey(),
		"mail":        tree{"host": "127.0.0.1", "port": p.Ports.Mail, "from": "carekeep@localhost", "tls": "none-local"},
		"public_url":  p.PageURL(),
		"records":     p.Address("records"),
		"sms": tree{
			"url": p.InboxURL(), "account": "AC" + strings.Repeat("0", 32), "token": tree{"file": p.smsToken()},
			"from": "+12025550100", "brand": "carekeep local", "contact": "202-555-0101",
		},
		"passkeys": tree{"rp_id": "localhost", "origins": []string{p.PageURL()}},
		// Every patient of a local stack is made up, and nobody signs agreements about them.
		"waived_gates": []string{"training", "attestation", "baa"},
	}
}

func (p *Place) smsToken() string { return p.path("sms.token") }

func (p *Place) gatewayConfig() tree {
	edge := p.files("edge")
	return tree{
		"listen":       p.Address("gateway"),
		"trust_domain": TrustDomain,
		"tls":          tree{"certificate": edge.Certificate, "key": edge.Key},
		"mesh":         p.identity("gateway"),
		"disclosure": tree{
			"url": p.PageURL(), "contacts": []string{"mailto:security@carekeep.local"}, "languages": []string{"en"},
			"reviewed": time.Now().UTC().Format(time.DateOnly),
		},
		"upstreams": tree{
			"auth": p.Address("auth"), "records": p.Address("records"), "fhir": p.Address("fhir"),
			"audit": p.Address("audit"), "log": p.Address("log"), "backup": p.Address("backup"),
		},
	}
}
