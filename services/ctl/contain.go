package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"text/tabwriter"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/ctl/internal/rest"
)

type containCommands struct {
	User     containUser     `cmd:"" help:"Freeze an account and end its sessions."`
	Address  containAddress  `cmd:"" help:"Block an IP address."`
	Practice containPractice `cmd:"" help:"Cut off a practice: its sessions end and nobody of it signs in."`
	Service  containService  `cmd:"" help:"Ask for a service to be cut off, which another superadmin approves."`
	Approve  containApprove  `cmd:"" help:"Cut off a service that somebody else, or a rule, asked to cut off."`
	List     containList     `cmd:"" help:"List what is cut off, or waits to be."`
}

type releaseCommands struct {
	User     releaseUser     `cmd:"" help:"Thaw an account; its password has to be reset then."`
	Address  releaseAddress  `cmd:"" help:"Lift the block of an address."`
	Practice releasePractice `cmd:"" help:"Let a practice in again; its users sign in anew."`
	Service  releaseService  `cmd:"" help:"Let a service answer again, or refuse to cut it off."`
}

// serviceNames are those that can be cut off, as arguments.
const serviceNames = "records,audit,backup"

// why asks for the reason: other users of the machine can read arguments.
func why(ctx context.Context, t *terminal) (string, error) {
	reason, err := t.ask(ctx, "Reason: ")
	if err == nil && reason == "" {
		err = errors.New("no reason given: type why, or send it as the first line of standard input")
	}
	return reason, err
}

// prepared is what every command of this file needs.
func (k kept) prepared(ctx context.Context, t *terminal) (*rest.Client, string, error) {
	client, err := k.client(t)
	if err != nil {
		return nil, "", err
	}
	reason, err := why(ctx, t)
	return client, reason, err
}

type containUser struct {
	kept
	User string `arg:"" help:"The user's id."`
}

// Run freezes an account.
func (c *containUser) Run(ctx context.Context, t *terminal) error {
	id, err := idOf("users", c.User)
	if err != nil {
		return err
	}
	client, reason, err := c.prepared(ctx, t)
	if err != nil {
		return err
	}
	var done authv1.ContainUserResponse
	if err := client.Call(ctx, http.MethodPost, "/v1/users/"+id+":contain", &authv1.ContainUserRequest{Reason: reason}, &done); err != nil {
		return fmt.Errorf("freeze the account: %w", err)
	}
	fmt.Fprintf(t.err, "frozen; %d sessions ended\n", done.GetEnded())
	return nil
}

type containAddress struct {
	kept
	Address string `arg:"" help:"The IP address; of an IPv6 one its /64 is blocked."`
	Hours   int32  `default:"24" help:"For how long: 1 to 168, by default ${default}."`
}

// Run blocks an address.
func (c *containAddress) Run(ctx context.Context, t *terminal) error {
	client, reason, err := c.prepared(ctx, t)
	if err != nil {
		return err
	}
	var done authv1.ContainAddressResponse
	request := &authv1.ContainAddressRequest{Address: c.Address, Hours: c.Hours, Reason: reason}
	if err := client.Call(ctx, http.MethodPost, "/v1/blocks:contain", request, &done); err != nil {
		return fmt.Errorf("block the address: %w", err)
	}
	fmt.Fprintf(t.err, "%s is blocked until %s UTC\n", done.GetNetwork(), moment(done.GetExpireTime()))
	return nil
}

type containPractice struct {
	kept
	form
	Practice string `arg:"" help:"The practice's id."`
}

// Run cuts off a practice.
func (c *containPractice) Run(ctx context.Context, t *terminal) error {
	id, err := idOf("practices", c.Practice)
	if err != nil {
		return err
	}
	return c.cut(ctx, t, c.kept, &authv1.CreateContainmentRequest{Practice: "practices/" + id})
}

type containService struct {
	kept
	form
	Service string `arg:"" enum:"${cuttable}" help:"Which: ${cuttable}."`
}

// Run asks for a service to be cut off.
func (c *containService) Run(ctx context.Context, t *terminal) error {
	return c.cut(ctx, t, c.kept, &authv1.CreateContainmentRequest{Service: serviceOf(c.Service)})
}

func serviceOf(name string) accessv1.Service {
	service, _ := enumOf(accessv1.Service_value, accessv1.Service_name, "SERVICE_", name) // of the names that may be given
	return accessv1.Service(service)
}

func (f form) cut(ctx context.Context, t *terminal, k kept, request *authv1.CreateContainmentRequest) error {
	client, reason, err := k.prepared(ctx, t)
	if err != nil {
		return err
	}
	request.Reason = reason
	var made authv1.Containment
	if err := client.Call(ctx, http.MethodPost, "/v1/containments", request, &made); err != nil {
		return fmt.Errorf("cut off: %w", err)
	}
	if made.GetEffectiveTime() == nil {
		fmt.Fprintln(t.err, "it waits for another superadmin: carekeep contain approve "+made.GetName())
	}
	return f.printContainments(t, []*authv1.Containment{&made})
}

type containApprove struct {
	kept
	form
	Name string `arg:"" help:"The containment, as contain list shows it."`
}

// Run approves.
func (c *containApprove) Run(ctx context.Context, t *terminal) error {
	var done authv1.Containment
	if err := c.act(ctx, t, "approve", "containments", c.Name, "approve", &authv1.ApproveContainmentRequest{}, &done); err != nil {
		return err
	}
	return c.printContainments(t, []*authv1.Containment{&done})
}

type containList struct {
	kept
	form
	Released bool `help:"Released ones too."`
}

// Run prints all pages as one table.
func (c *containList) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	list, err := containments(ctx, client, !c.Released)
	if err != nil {
		return err
	}
	return c.printContainments(t, list)
}

func containments(ctx context.Context, client *rest.Client, openOnly bool) ([]*authv1.Containment, error) {
	var list []*authv1.Containment
	for token := ""; ; {
		query := url.Values{"pageSize": {strconv.Itoa(largestPage)}, "pageToken": {token}, "openOnly": {strconv.FormatBool(openOnly)}}
		var page authv1.ListContainmentsResponse
		if err := client.Call(ctx, http.MethodGet, "/v1/containments?"+query.Encode(), nil, &page); err != nil {
			return nil, fmt.Errorf("list what is cut off: %w", err)
		}
		list = append(list, page.GetContainments()...)
		if token = page.GetNextPageToken(); token == "" {
			return list, nil
		}
	}
}

// what is cut off, in one word.
func what(c *authv1.Containment) string {
	for _, name := range []string{c.GetPractice(), c.GetUser(), c.GetNetwork()} {
		if name != "" {
			return name
		}
	}
	return word(c.GetService(), "SERVICE_")
}

func (f form) printContainments(t *terminal, list []*authv1.Containment) error {
	return display(f, t, list, func() error {
		table := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "NAME\tCUT OFF\tBY\tASKED (UTC)\tSINCE (UTC)\tRELEASED (UTC)\tREASON")
		for _, c := range list {
			by := c.GetCreator()
			if by == "" {
				by = "detections/" + c.GetDetection()
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.GetName(), what(c), by,
				moment(c.GetCreateTime()), moment(c.GetEffectiveTime()), moment(c.GetReleaseTime()), c.GetReason())
		}
		return table.Flush()
	})
}

type releaseUser struct {
	kept
	User string `arg:"" help:"The user's id."`
}

// Run thaws an account.
func (c *releaseUser) Run(ctx context.Context, t *terminal) error {
	id, err := idOf("users", c.User)
	if err != nil {
		return err
	}
	client, err := c.client(t)
	if err != nil {
		return err
	}
	if err := client.Call(ctx, http.MethodPost, "/v1/users/"+id+":thaw", &authv1.ThawUserRequest{}, &authv1.ThawUserResponse{}); err != nil {
		return fmt.Errorf("thaw the account: %w", err)
	}
	fmt.Fprintln(t.err, "thawed; the account opens when its password was reset")
	return nil
}

type releaseAddress struct {
	kept
	Network string `arg:"" help:"The address or network, as contain list shows it."`
}

// Run lifts a block.
func (c *releaseAddress) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	if err := client.Call(ctx, http.MethodPost, "/v1/blocks:lift", &authv1.LiftBlockRequest{Network: c.Network}, &authv1.LiftBlockResponse{}); err != nil {
		return fmt.Errorf("lift the block: %w", err)
	}
	return nil
}

type releasePractice struct {
	kept
	form
	Practice string `arg:"" help:"The practice's id."`
}

// Run lets a practice in again.
func (c *releasePractice) Run(ctx context.Context, t *terminal) error {
	id, err := idOf("practices", c.Practice)
	if err != nil {
		return err
	}
	return c.release(ctx, t, c.kept, func(x *authv1.Containment) bool { return x.GetPractice() == "practices/"+id })
}

type releaseService struct {
	kept
	form
	Service string `arg:"" enum:"${cuttable}" help:"Which: ${cuttable}."`
}

// Run lets a service answer again.
func (c *releaseService) Run(ctx context.Context, t *terminal) error {
	service := serviceOf(c.Service)
	return c.release(ctx, t, c.kept, func(x *authv1.Containment) bool { return x.GetService() == service })
}

// release ends the open containment that is meant; there is one at most.
func (f form) release(ctx context.Context, t *terminal, k kept, meant func(*authv1.Containment) bool) error {
	client, reason, err := k.prepared(ctx, t)
	if err != nil {
		return err
	}
	open, err := containments(ctx, client, true)
	if err != nil {
		return err
	}
	for _, x := range open {
		if !meant(x) {
			continue
		}
		var done authv1.Containment
		if err := client.Call(ctx, http.MethodPost, "/v1/"+x.GetName()+":release", &authv1.ReleaseContainmentRequest{Reason: reason}, &done); err != nil {
			return fmt.Errorf("release: %w", err)
		}
		return f.printContainments(t, []*authv1.Containment{&done})
	}
	return errors.New("it is not cut off; carekeep contain list shows what is")
}
