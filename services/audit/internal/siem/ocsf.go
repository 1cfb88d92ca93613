package siem

import (
	"encoding/json"
	"fmt"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// SchemaVersion is the version of OCSF that is written; https://schema.ocsf.io/1.3.0.
const SchemaVersion = "1.3.0"

const (
	classAuthentication = 3002 // category 3, Identity & Access Management
	classAPIActivity    = 6003 // category 6, Application Activity

	activityOther = 99
)

type ocsfEvent struct {
	ActivityID   int            `json:"activity_id"`
	ActivityName string         `json:"activity_name"`
	CategoryUID  int            `json:"category_uid"`
	ClassUID     int            `json:"class_uid"`
	TypeUID      int            `json:"type_uid"`
	Time         int64          `json:"time"` // milliseconds since 1970
	SeverityID   int            `json:"severity_id"`
	StatusID     int            `json:"status_id"`
	StatusCode   string         `json:"status_code,omitempty"`
	Metadata     ocsfMetadata   `json:"metadata"`
	Actor        ocsfActor      `json:"actor"`
	User         *ocsfUser      `json:"user,omitempty"`    // Authentication
	Service      *ocsfName      `json:"service,omitempty"` // Authentication
	API          *ocsfAPI       `json:"api,omitempty"`     // API Activity
	SrcEndpoint  ocsfEndpoint   `json:"src_endpoint"`
	Resources    []ocsfResource `json:"resources,omitempty"`
	Unmapped     ocsfUnmapped   `json:"unmapped"`
}

type ocsfMetadata struct {
	Version  string      `json:"version"`
	Product  ocsfProduct `json:"product"`
	UID      string      `json:"uid"`
	Sequence int64       `json:"sequence"`
}

type ocsfProduct struct {
	Name       string `json:"name"`
	VendorName string `json:"vendor_name"`
}

type ocsfActor struct {
	User    *ocsfUser `json:"user,omitempty"`
	Session *ocsfID   `json:"session,omitempty"`
	AppName string    `json:"app_name,omitempty"`
}

type ocsfUser struct {
	UID  string  `json:"uid,omitempty"`
	Name string  `json:"name,omitempty"`
	Org  *ocsfID `json:"org,omitempty"`
}

type ocsfID struct {
	UID string `json:"uid"`
}

type ocsfName struct {
	Name string `json:"name"`
}

type ocsfAPI struct {
	Operation string   `json:"operation"`
	Service   ocsfName `json:"service"`
}

type ocsfEndpoint struct {
	IP      string `json:"ip,omitempty"`
	SvcName string `json:"svc_name,omitempty"`
	UID     string `json:"uid,omitempty"` // of the device
}

type ocsfResource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type ocsfUnmapped struct {
	Action   string   `json:"action"`
	Outcome  string   `json:"outcome"`
	Count    int32    `json:"count,omitempty"`
	CallID   []byte   `json:"call_id,omitempty"`
	LeafHash []byte   `json:"leaf_hash"`
	Withheld []string `json:"withheld_fields,omitempty"`
}

// OCSF writes an event of OCSF 1.3.0 as JSON, in which a line break is an escape.
func OCSF(e *auditv1.Entry) ([]byte, error) {
	v := e.GetEvent()
	x := ocsfEvent{
		Time: v.GetEventTime().AsTime().UnixMilli(), SeverityID: ocsfSeverity[v.GetRisk()], StatusID: 2, StatusCode: v.GetReason(),
		Metadata: ocsfMetadata{Version: SchemaVersion, Product: ocsfProduct{Product, Vendor}, UID: v.GetEventId(), Sequence: e.GetSeq()},
		// An endpoint must say something, and an event of a job has no address.
		SrcEndpoint: ocsfEndpoint{IP: v.GetAddress(), SvcName: serviceName(v.GetCaller()), UID: v.GetDeviceId()},
		Unmapped: ocsfUnmapped{
			Action: actionName(v.GetAction()), Outcome: outcomeName(v.GetOutcome()), Count: v.GetCount(),
			CallID: v.GetCallId(), LeafHash: e.GetLeafHash(), Withheld: v.GetWithheldFields(),
		},
	}
	if v.GetCaller() == accessv1.Service_SERVICE_UNSPECIFIED {
		x.SrcEndpoint.SvcName = serviceName(v.GetService())
	}
	if v.GetOutcome() == auditv1.Outcome_OUTCOME_OK {
		x.StatusID = 1
	}
	user := &ocsfUser{UID: v.GetUserId(), Name: v.GetUsername()}
	if v.GetPracticeId() != "" {
		user.Org = &ocsfID{v.GetPracticeId()}
	}
	x.Actor = ocsfActor{User: user, AppName: serviceName(v.GetService())}
	if v.GetSessionId() != "" {
		x.Actor.Session = &ocsfID{v.GetSessionId()}
	}
	x.classify(v)
	if v.GetPatientId() != "" {
		x.Resources = append(x.Resources, ocsfResource{"Patient", v.GetPatientId()})
	}
	if v.GetResource() != "" {
		x.Resources = append(x.Resources, ocsfResource{"Resource", v.GetResource()})
	}
	out, err := json.Marshal(x)
	if err != nil {
		return nil, fmt.Errorf("entry %d as OCSF: %w", e.GetSeq(), err)
	}
	return out, nil
}

var ocsfSeverity = map[auditv1.Risk]int{
	auditv1.Risk_RISK_LOW: 2, auditv1.Risk_RISK_MEDIUM: 3, auditv1.Risk_RISK_HIGH: 4, auditv1.Risk_RISK_CRITICAL: 5,
}

// classify sets what follows from the action: class, category, activity and type.
func (x *ocsfEvent) classify(v *auditv1.Event) {
	x.ClassUID, x.ActivityID, x.ActivityName = classAPIActivity, activityOther, actionName(v.GetAction())
	switch v.GetAction() {
	case accessv1.Action_ACTION_SIGN_IN:
		x.ClassUID, x.ActivityID, x.ActivityName = classAuthentication, 1, "Logon"
	case accessv1.Action_ACTION_SIGN_OUT:
		x.ClassUID, x.ActivityID, x.ActivityName = classAuthentication, 2, "Logoff"
	case accessv1.Action_ACTION_CREATE, accessv1.Action_ACTION_IMPORT:
		x.ActivityID, x.ActivityName = 1, "Create"
	case accessv1.Action_ACTION_READ, accessv1.Action_ACTION_LIST, accessv1.Action_ACTION_SEARCH:
		x.ActivityID, x.ActivityName = 2, "Read"
	case accessv1.Action_ACTION_UPDATE:
		x.ActivityID, x.ActivityName = 3, "Update"
	case accessv1.Action_ACTION_DELETE:
		x.ActivityID, x.ActivityName = 4, "Delete"
	}
	x.CategoryUID, x.TypeUID = x.ClassUID/1000, x.ClassUID*100+x.ActivityID
	if x.ClassUID == classAuthentication {
		x.User, x.Service = x.Actor.User, &ocsfName{serviceName(v.GetService())}
		return
	}
	x.API = &ocsfAPI{v.GetMethod(), ocsfName{serviceName(v.GetService())}}
}
