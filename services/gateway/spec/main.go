// Command spec is a protoc plugin that writes the one OpenAPI 3.1 document of
// the REST API. It runs protoc-gen-openapiv3, which knows google.api.http, merges
// its per-file documents, and adds what only carekeep knows: sessions, access
// rules, raw FHIR, streams, the import route. It is not part of the gateway.
//
// It reads the access options dynamically and imports nothing of gen/, so that
// gen/ can be made from nothing.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/pluginpb"
)

const document = "carekeep.openapi.json"

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "spec:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	raw, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	request := &pluginpb.CodeGeneratorRequest{}
	if err := proto.Unmarshal(raw, request); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	generator, ok := strings.CutPrefix(request.GetParameter(), "generator=")
	if !ok {
		return errors.New("set opt: [generator=PATH] to the path of protoc-gen-openapiv3")
	}
	response := &pluginpb.CodeGeneratorResponse{
		SupportedFeatures: proto.Uint64(uint64(pluginpb.CodeGeneratorResponse_FEATURE_PROTO3_OPTIONAL)),
	}
	content, err := build(generator, request)
	if err != nil {
		response.Error = proto.String(err.Error())
	} else {
		response.File = []*pluginpb.CodeGeneratorResponse_File{{
			Name: proto.String(document), Content: proto.String(content),
		}}
	}
	raw, err = proto.Marshal(response)
	if err != nil {
		return fmt.Errorf("write the response: %w", err)
	}
	_, err = out.Write(raw)
	return err
}

func build(generator string, request *pluginpb.CodeGeneratorRequest) (string, error) {
	parts, err := generate(generator, request)
	if err != nil {
		return "", err
	}
	doc, err := merge(parts)
	if err != nil {
		return "", err
	}
	api, err := readAPI(request)
	if err != nil {
		return "", err
	}
	if err := refine(doc, api); err != nil {
		return "", err
	}
	return encode(doc)
}

// generate runs protoc-gen-openapiv3 and returns its documents, one per proto file.
func generate(generator string, request *pluginpb.CodeGeneratorRequest) ([]string, error) {
	plain := proto.CloneOf(request)
	plain.Parameter = nil
	raw, err := proto.Marshal(plain)
	if err != nil {
		return nil, fmt.Errorf("write to %s: %w", generator, err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(generator) //nolint:gosec,noctx // a build tool: the path comes from buf.gen.yaml, the developer stops it
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(raw), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("run %s: %w: %s", generator, err, stderr.String())
	}
	response := &pluginpb.CodeGeneratorResponse{}
	if err := proto.Unmarshal(stdout.Bytes(), response); err != nil {
		return nil, fmt.Errorf("read from %s: %w", generator, err)
	}
	if response.GetError() != "" {
		return nil, fmt.Errorf("%s: %s", generator, response.GetError())
	}
	parts := make([]string, 0, len(response.GetFile()))
	for _, f := range response.GetFile() {
		parts = append(parts, f.GetContent())
	}
	return parts, nil
}
