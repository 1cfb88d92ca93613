package grant_test

import (
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/auth/internal/roles"
)

const day = 24 * time.Hour

// every is each permission there is.
var every = func() []accessv1.Permission {
	var list []accessv1.Permission
	for p := accessv1.Permission(1); p < 512; p++ {
		if accessv1.Permission_name[int32(p)] != "" {
			list = append(list, p)
		}
	}
	return list
}()

// step does something that anybody tries with any session, and notes what the answer says.
func (h *town) step(rt *rapid.T, actor *citizen) {
	actor.Session = actor.strong
	if rapid.IntRange(0, 9).Draw(rt, "session") == 0 {
		actor.Session = actor.weak
	}
	steps[rapid.SampledFrom(often).Draw(rt, "step")](h, rt, actor)
	actor.Session = actor.strong
}

// begin starts half of the sequences where chance alone seldom gets: with a custom role, a grant, or one that nobody gave.
func (h *town) begin(rt *rapid.T) {
	alice, p := h.people[0], h.people[rapid.IntRange(1, len(h.people)-1).Draw(rt, "somebody")]
	if rapid.Bool().Draw(rt, "with a custom role") {
		h.create(rt, alice, p.role, roles.Floor().List())
		h.give(rt, alice, p, h.custom[0].GetName())
	}
	base, _ := h.given(p)
	above := roles.Ceiling(p.role).Without(base).List()
	if len(above) > 0 && rapid.Bool().Draw(rt, "with a grant") {
		h.ask(rt, p, rapid.SampledFrom(above).Draw(rt, "permission"), 2)
		h.verdict(rt, alice, h.grants[0], true)
	}
	if rapid.Bool().Draw(rt, "with a stray grant") {
		h.stray(rt, p)
	}
}

var steps = map[string]func(*town, *rapid.T, *citizen){
	"request": (*town).request, "decide": (*town).decide, "revoke": (*town).revoke, "stray": (*town).stray,
	"make role": (*town).makeRole, "change role": (*town).changeRole, "drop role": (*town).dropRole, "set role": (*town).setRole,
	"move": (*town).move, "assign": (*town).assign, "train": (*town).train, "attest": (*town).attest,
	"agree": (*town).agree, "policy": (*town).policy, "certify": (*town).certify, "wait": (*town).wait,
}

// often has those more than once that the others build on.
var often = append(slices.Sorted(maps.Keys(steps)), "request", "decide", "decide", "make role", "set role", "wait", "policy", "certify", "certify")

func (h *town) request(rt *rapid.T, actor *citizen) {
	// Half of the wishes are what a practice may give.
	wishes := every
	if above := roles.Ceiling(actor.role).Without(roles.Of(actor.role)).List(); len(above) > 0 && rapid.Bool().Draw(rt, "possible") {
		wishes = above
	}
	permission := rapid.SampledFrom(wishes).Draw(rt, "permission")
	h.ask(rt, actor, permission, rapid.Int32Range(1, 8).Draw(rt, "hours"))
}

func (h *town) ask(rt *rapid.T, actor *citizen, permission accessv1.Permission, hours int32) {
	asked, err := h.governance.RequestGrant(actor.Context(), &authv1.RequestGrantRequest{Permission: permission, Reason: "x", Hours: hours})
	if !answered(rt, err) {
		return
	}
	if !roles.Ceiling(actor.role).Has(permission) {
		rt.Fatalf("%s may ask for %v", actor.Username, permission)
	}
	h.grants = append(h.grants, &promise{name: asked.GetName(), user: actor, permission: permission, asked: h.Clock.Now()})
}

func (h *town) grant(rt *rapid.T) *promise {
	if len(h.grants) == 0 {
		return &promise{name: "grants/" + uuid.NewString()}
	}
	return rapid.SampledFrom(h.grants).Draw(rt, "grant")
}

func (h *town) decide(rt *rapid.T, actor *citizen) {
	h.verdict(rt, actor, h.grant(rt), rapid.IntRange(0, 3).Draw(rt, "verdict") > 0)
}

func (h *town) verdict(rt *rapid.T, actor *citizen, g *promise, approve bool) {
	decided, err := h.governance.DecideGrant(actor.Context(), &authv1.DecideGrantRequest{Name: g.name, Approve: approve})
	if !answered(rt, err) {
		return
	}
	now := h.Clock.Now()
	switch {
	case g.user == actor:
		rt.Fatalf("%s decides their own request", actor.Username)
	case now.Sub(g.asked) >= day:
		rt.Fatalf("a request of %s ago is decided", now.Sub(g.asked))
	case !approve:
		g.asked = time.Time{} // nobody may decide it again
		return
	}
	g.asked, g.until = time.Time{}, decided.GetExpireTime().AsTime()
	if g.until.Sub(now) > 8*time.Hour {
		rt.Fatalf("a grant of %s", g.until.Sub(now))
	}
}

func (h *town) revoke(rt *rapid.T, actor *citizen) {
	g := h.grant(rt)
	_, err := h.governance.RevokeGrant(actor.Context(), &authv1.RevokeGrantRequest{Name: g.name})
	if answered(rt, err) {
		h.over(g)
	}
}

// over ends grants and requests.
func (h *town) over(list ...*promise) {
	for _, g := range list {
		g.asked = time.Time{}
		if g.until.After(h.Clock.Now()) {
			g.until = h.Clock.Now()
		}
	}
}

// newRole is what follows from another role: grants and training of the old one end.
func (h *town) newRole(p *citizen) {
	for _, g := range h.grants {
		if g.user == p {
			h.over(g)
		}
	}
	p.trained = time.Time{}
}

func (h *town) makeRole(rt *rapid.T, actor *citizen) {
	base := h.anyRole(rt)
	if rapid.Bool().Draw(rt, "for somebody here") {
		base = rapid.SampledFrom(h.people).Draw(rt, "holder").role
	}
	from := roles.Ceiling(base).List()
	if len(from) == 0 || rapid.IntRange(0, 4).Draw(rt, "beyond") == 0 {
		from = every
	}
	list := rapid.SliceOfNDistinct(rapid.SampledFrom(from), 1, 12, rapid.ID[accessv1.Permission]).Draw(rt, "permissions")
	h.create(rt, actor, base, list)
}

func (h *town) create(rt *rapid.T, actor *citizen, base roles.Role, list []accessv1.Permission) {
	made, err := h.governance.CreateCustomRole(actor.Context(), &authv1.CreateCustomRoleRequest{
		DisplayName: uuid.NewString(), Kind: base.Kind, Template: base.Template, Permissions: list,
	})
	if answered(rt, err) {
		h.custom = append(h.custom, made)
	}
}

func (h *town) customRole(rt *rapid.T) *authv1.CustomRole {
	if len(h.custom) == 0 {
		return &authv1.CustomRole{Name: "customRoles/" + uuid.NewString(), Etag: `"1"`}
	}
	return rapid.SampledFrom(h.custom).Draw(rt, "custom role")
}

func (h *town) changeRole(rt *rapid.T, actor *citizen) {
	role := h.customRole(rt)
	list := rapid.SliceOfNDistinct(rapid.SampledFrom(every), 1, 12, rapid.ID[accessv1.Permission]).Draw(rt, "permissions")
	if rapid.Bool().Draw(rt, "within") {
		list = roles.Ceiling(roles.Role{Kind: role.GetKind(), Template: role.GetTemplate()}).List()
	}
	changed, err := h.governance.UpdateCustomRole(actor.Context(), &authv1.UpdateCustomRoleRequest{
		Name: role.GetName(), DisplayName: uuid.NewString(), Etag: role.GetEtag(), Permissions: list,
	})
	if answered(rt, err) {
		h.custom[slices.Index(h.custom, role)] = changed
	}
}

func (h *town) dropRole(rt *rapid.T, actor *citizen) {
	role := h.customRole(rt)
	_, err := h.governance.DeleteCustomRole(actor.Context(), &authv1.DeleteCustomRoleRequest{Name: role.GetName()})
	if answered(rt, err) {
		h.custom = slices.DeleteFunc(h.custom, func(r *authv1.CustomRole) bool { return r == role })
	}
}

func (h *town) setRole(rt *rapid.T, actor *citizen) {
	target := rapid.SampledFrom(h.people).Draw(rt, "target")
	name := ""
	if len(h.custom) > 0 && rapid.IntRange(0, 4).Draw(rt, "none") > 0 {
		name = h.customRole(rt).GetName()
	}
	h.give(rt, actor, target, name)
}

func (h *town) give(rt *rapid.T, actor, target *citizen, name string) {
	_, err := h.governance.SetUserRole(actor.Context(), &authv1.SetUserRoleRequest{Name: target.User, Role: name})
	if answered(rt, err) {
		target.custom = name
		h.newRole(target)
	}
}

func (h *town) anyRole(rt *rapid.T) roles.Role {
	return rapid.SampledFrom(roles.All()).Draw(rt, "role")
}

func (h *town) move(rt *rapid.T, actor *citizen) {
	target, role := rapid.SampledFrom(h.people).Draw(rt, "target"), h.anyRole(rt)
	found, err := h.Auth.GetUser(actor.Context(), &authv1.GetUserRequest{Name: target.User})
	if !answered(rt, err) {
		return
	}
	_, err = h.Auth.UpdateUser(actor.Context(), &authv1.UpdateUserRequest{
		User: &authv1.User{Name: target.User, Etag: found.GetEtag(), Role: role.Kind, Template: role.Template},
	})
	if answered(rt, err) && role != target.role {
		target.role, target.custom = role, ""
		h.newRole(target)
	}
}

func (h *town) assign(rt *rapid.T, actor *citizen) {
	doctor, member := rapid.SampledFrom(h.people).Draw(rt, "doctor"), rapid.SampledFrom(h.people).Draw(rt, "member")
	_, err := h.Auth.AssignStaff(actor.Context(), &authv1.AssignStaffRequest{Parent: doctor.User, User: member.User})
	answered(rt, err)
}

func (h *town) train(rt *rapid.T, actor *citizen) {
	target := rapid.SampledFrom(h.people).Draw(rt, "target")
	ago := time.Duration(rapid.SampledFrom([]int{0, 0, 1, 364, 365, 400}).Draw(rt, "days ago")) * day
	recorded, err := h.governance.RecordTraining(actor.Context(), &authv1.RecordTrainingRequest{
		Name: target.User, Course: "HIPAA", CompleteTime: timestamppb.New(h.Clock.Now().Add(-ago)),
	})
	if !answered(rt, err) {
		return
	}
	target.trained = recorded.GetValidUntil().AsTime()
	if target.trained.Sub(h.Clock.Now()) > 365*day {
		rt.Fatalf("a training counts until %s", target.trained)
	}
}

func (h *town) attest(rt *rapid.T, actor *citizen) {
	_, err := h.governance.AttestDevice(actor.Context(), &authv1.AttestDeviceRequest{ScreenLock: true, DiskEncryption: true, Antivirus: true})
	if answered(rt, err) {
		actor.attested = h.Clock.Now()
	}
}

// agree lets the superadmin record an agreement; a practice cannot.
func (h *town) agree(rt *rapid.T, actor *citizen) {
	from := h.Clock.Now().Add(time.Duration(rapid.IntRange(-30, 5).Draw(rt, "begins")) * day)
	until := from.Add(time.Duration(rapid.IntRange(1, 90).Draw(rt, "days")) * day)
	request := &authv1.RecordBaaRequest{
		Practice: actor.Practice, Version: "1", Signatory: "A. Owner", StartTime: timestamppb.New(from), EndTime: timestamppb.New(until),
	}
	if _, err := h.governance.RecordBaa(actor.Context(), request); answered(rt, err) {
		rt.Fatalf("%s records an agreement", actor.Username)
	}
	if _, err := h.governance.RecordBaa(h.root.Context(), request); answered(rt, err) {
		h.from, h.until = from, until
	}
}

func (h *town) policy(rt *rapid.T, actor *citizen) {
	read, err := h.governance.GetPolicy(actor.Context(), &authv1.GetPolicyRequest{})
	if !answered(rt, err) {
		return
	}
	strict := rapid.Bool().Draw(rt, "passkeys")
	_, err = h.governance.UpdatePolicy(actor.Context(), &authv1.UpdatePolicyRequest{RequirePasskey: strict, Etag: read.GetEtag()})
	if answered(rt, err) {
		h.passkeys = strict
	}
}

func (h *town) certify(rt *rapid.T, actor *citizen) {
	name := rapid.SampledFrom(h.reviewed).Draw(rt, "item")
	confirm := rapid.Bool().Draw(rt, "confirm")
	_, err := h.governance.Certify(actor.Context(), &authv1.CertifyRequest{Name: name, Confirm: confirm})
	if !answered(rt, err) {
		return
	}
	if h.items[name] == actor {
		rt.Fatalf("%s confirms their own access", actor.Username)
	}
	h.items[name].revoked = !confirm
}

func (h *town) wait(rt *rapid.T, _ *citizen) {
	h.pass(rt, rapid.SampledFrom([]time.Duration{time.Microsecond, time.Hour, 8 * time.Hour, day, 30 * day, 365 * day}).Draw(rt, "wait"))
}

// stray puts a grant into the table that no RPC would have: admission trusts no other part of auth.
func (h *town) stray(rt *rapid.T, actor *citizen) {
	p, permission := rapid.SampledFrom(h.people).Draw(rt, "lucky one"), rapid.SampledFrom(every).Draw(rt, "permission")
	if p == actor {
		return // that would look like a step of their own
	}
	by := h.people[(slices.Index(h.people, p)+1)%len(h.people)]
	id, until := uuid.New(), h.Clock.Now().Add(time.Hour)
	h.exec(rt, `INSERT INTO grants (id, practice_id, user_id, permission, reason, hours, requested, decided, decided_by, approved, expires)
		SELECT $1, practice_id, id, $3, 'x', 1, $4, $4, $5, true, $6 FROM users WHERE id = $2`, id, p.ID, permission, h.Clock.Now(), by.ID, until)
	h.grants = append(h.grants, &promise{name: "grants/" + id.String(), user: p, permission: permission, until: until})
}
