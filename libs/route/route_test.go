package route_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/route"
)

func TestFind(t *testing.T) {
	t.Parallel()
	table := route.Of(recordsv1.File_carekeep_records_v1_fhir_proto.Services().ByName("FhirService"))
	for in, want := range map[[2]string]string{
		{"GET", "/fhir/R4/metadata"}:                        recordsv1.FhirService_Capabilities_FullMethodName,
		{"GET", "/fhir/R4/.well-known/smart-configuration"}: recordsv1.FhirService_SmartConfiguration_FullMethodName,
		{"GET", "/fhir/R4/Patient/1"}:                       recordsv1.FhirService_Read_FullMethodName,
		{"GET", "/fhir/R4/Patient/1/"}:                      recordsv1.FhirService_Read_FullMethodName,
		{"PUT", "/fhir/R4/Patient/1"}:                       recordsv1.FhirService_Update_FullMethodName,
		{"GET", "/fhir/R4/Patient/1/_history"}:              recordsv1.FhirService_History_FullMethodName,
		{"GET", "/fhir/R4/Patient/1/_history/2"}:            recordsv1.FhirService_ReadVersion_FullMethodName,
		{"GET", "/fhir/R4/Patient/1/$everything"}:           recordsv1.FhirService_Everything_FullMethodName,
		{"GET", "/fhir/R4/Patient/1/%24everything"}:         recordsv1.FhirService_Everything_FullMethodName,
		{"GET", "/fhir/R4/_search/Patient"}:                 recordsv1.FhirService_SearchPage_FullMethodName,
		{"POST", "/fhir/R4/Patient/_search"}:                recordsv1.FhirService_Search_FullMethodName,
		{"POST", "/fhir/R4"}:                                recordsv1.FhirService_Process_FullMethodName,
		{"POST", "/fhir/R4/Patient"}:                        recordsv1.FhirService_Create_FullMethodName,
		{"GET", "/fhir/R4/$export"}:                         recordsv1.FhirService_StartExport_FullMethodName,
		{"GET", "/fhir/R4/Patient/$export"}:                 recordsv1.FhirService_StartExport_FullMethodName,
		{"GET", "/fhir/R4/$export/1"}:                       recordsv1.FhirService_GetExport_FullMethodName,
		{"DELETE", "/fhir/R4/%24export/1"}:                  recordsv1.FhirService_EndExport_FullMethodName,
		{"GET", "/fhir/R4/$export/1/Patient/2"}:             recordsv1.FhirService_ReadExportFile_FullMethodName,
		{"GET", "/fhir/R4/Observation/1/$everything"}:       "",
		{"GET", "/fhir/R4//1"}:                              "",
		{"GET", "/fhir/R4/Patient/%zz"}:                     "",
		{"GET", "/v1/patients/1"}:                           "",
	} {
		r, _, _ := table.Find(in[0], in[1])
		require.Equal(t, want, r.RPC, in)
	}
	_, values, _ := table.Find("GET", "/fhir/R4/Patient/a%2Fb/_history/2")
	require.Equal(t, map[string]string{"type": "Patient", "id": "a/b", "version": "2"}, values)
	_, _, allowed := table.Find("TRACE", "/fhir/R4/Patient/1")
	require.ElementsMatch(t, []string{"GET", "PUT", "PATCH", "DELETE"}, allowed)
}
