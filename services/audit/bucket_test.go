package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/carekeep/carekeep/libs/config"
	"github.com/carekeep/carekeep/libs/devkit"
	"github.com/carekeep/carekeep/libs/ledger"
)

const (
	s3Access = "test-access"
	s3Secret = "test-secret-5f1c"
	s3Bucket = "checkpoints"
)

// s3 is a real S3 server (versitygw), with a bucket that has object lock.
type s3 struct {
	t      *testing.T
	url    string
	client *minio.Client
}

func newS3(t *testing.T) *s3 {
	t.Helper()
	program, err := devkit.Build(t.Context(), filepath.Join("tests", "versitygw"), "github.com/versity/versitygw/cmd/versitygw", "test-versitygw")
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	data, versions := t.TempDir(), t.TempDir()
	cmd := exec.CommandContext(t.Context(), program, "--port", address, "posix", "--versioning-dir", versions, data)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s3Access, "ROOT_SECRET_KEY="+s3Secret)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	s := &s3{t: t, url: "http://" + address}
	s.client, err = minio.New(address, &minio.Options{Creds: credentials.NewStaticV4(s3Access, s3Secret, ""), Region: "us-east-1"})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		response, err := http.Get(s.url)
		if err == nil {
			_ = response.Body.Close()
		}
		return err == nil
	}, patience, often)
	require.NoError(t, s.client.MakeBucket(t.Context(), s3Bucket, minio.MakeBucketOptions{Region: "us-east-1", ObjectLocking: true}))
	return s
}

// settings are read from a file, as the service reads them.
func (s *s3) settings(bucket string) CheckpointBucket {
	s.t.Helper()
	folder := s.t.TempDir()
	require.NoError(s.t, os.WriteFile(filepath.Join(folder, "access"), []byte(s3Access), 0o600))
	require.NoError(s.t, os.WriteFile(filepath.Join(folder, "secret"), []byte(s3Secret), 0o600))
	text := fmt.Sprintf("url: %s\nbucket: %s\nregion: us-east-1\nprefix: carekeep/log\nretain_days: 400\naccess_key: {file: access}\nsecret_key: {file: secret}\n", s.url, bucket)
	file := filepath.Join(folder, "bucket.yaml")
	require.NoError(s.t, os.WriteFile(file, []byte(text), 0o600))
	var b CheckpointBucket
	require.NoError(s.t, config.Load(file, &b))
	return b
}

func (s *s3) objects(versions bool) (found []minio.ObjectInfo) {
	s.t.Helper()
	for o := range s.client.ListObjects(s.t.Context(), s3Bucket, minio.ListObjectsOptions{Recursive: true, WithVersions: versions}) {
		require.NoError(s.t, o.Err)
		found = append(found, o)
	}
	return found
}

func (s *s3) get(key, version string) string {
	s.t.Helper()
	o, err := s.client.GetObject(s.t.Context(), s3Bucket, key, minio.GetObjectOptions{VersionID: version})
	require.NoError(s.t, err)
	raw, err := io.ReadAll(o)
	require.NoError(s.t, err)
	return string(raw)
}

// A checkpoint in the bucket is locked for its time, never replaced, and a later writer is held to it, also where
// somebody deleted it or put another over it.
func TestDMD08_CheckpointsAreKeptInABucketUnderObjectLock(t *testing.T) {
	t.Parallel()
	store := newS3(t)
	s := newSuite(t)
	s.bucket = store.settings(s3Bucket)
	r := s.writer()
	p := s.producer("records")
	for range 3 {
		p.await(p.send(batchOf(100)...))
	}
	r.stop() // writes what is left
	objects := store.objects(false)
	require.NotEmpty(t, objects)
	key := ""
	for _, o := range objects {
		if strings.HasSuffix(o.Key, "/300.note") {
			key = o.Key
		}
	}
	require.Regexp(t, `^carekeep/log/\d{4}-\d\d-\d\d/300\.note$`, key, "%v", objects)
	c, err := ledger.OpenCheckpoint(store.get(key, ""), s.trust().Keys)
	require.NoError(t, err)
	require.EqualValues(t, 300, c.Size)
	info, err := store.client.StatObject(t.Context(), s3Bucket, key, minio.StatObjectOptions{})
	require.NoError(t, err)
	require.Equal(t, "COMPLIANCE", info.Metadata.Get("X-Amz-Object-Lock-Mode"))
	until, err := time.Parse(time.RFC3339, info.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date"))
	require.NoError(t, err)
	require.WithinDuration(t, c.Time.AddDate(0, 0, 400), until, time.Minute)
	version := info.VersionID
	require.Error(t, store.client.RemoveObject(t.Context(), s3Bucket, key, minio.RemoveObjectOptions{VersionID: version}), "a locked version cannot be removed")

	require.NoError(t, r.places.Ready(t.Context()))
	require.NoError(t, putAgain(t, s, store, store.get(key, "")), "the same again is no error")
	other := store.get(key, "") + "— other AAAA\n"
	require.ErrorContains(t, putAgain(t, s, store, other), "holds another checkpoint")

	// The database and the folder are taken back together; the bucket alone knows, although somebody covered it up.
	require.NoError(t, store.client.RemoveObject(t.Context(), s3Bucket, key, minio.RemoveObjectOptions{}), "a delete marker")
	s.tamper("DELETE FROM checkpoints WHERE size > 200", "DELETE FROM entries WHERE seq >= 200")
	s.copies = t.TempDir()
	back := s.start()
	require.Eventually(t, func() bool {
		return strings.Contains(s.logs.String(), "a checkpoint copy covers 300 entries, the database holds 200")
	}, patience, often, "%s", s.logs)
	require.False(t, back.appender.Writing())
}

// putAgain writes a copy through a bucket of its own and returns what that says.
func putAgain(t *testing.T, s *suite, store *s3, signed string) error {
	t.Helper()
	settings := store.settings(s3Bucket)
	places, err := settings.open(nil, logTo(s.logs))
	require.NoError(t, err)
	bucket := places[1]
	ctx, cancel := context.WithCancel(t.Context())
	bucket.Keep(signed)
	cancel()
	bucket.Run(ctx) // ends at once, after what is left is written
	return bucket.Ready(t.Context())
}

// A bucket that cannot be used is named, with what to change; care and the log go on.
func TestABucketThatCannotBeUsedIsReported(t *testing.T) {
	t.Parallel()
	store := newS3(t)
	require.NoError(t, store.client.MakeBucket(t.Context(), "unlocked", minio.MakeBucketOptions{Region: "us-east-1"}))
	for bucket, want := range map[string]string{"unlocked": "make a bucket with object lock", "missing": "make it, with object lock"} {
		s := newSuite(t)
		s.bucket = store.settings(bucket)
		if bucket == "unlocked" { // listing it works, so the writer starts
			r := s.writer()
			p := s.producer("records")
			p.await(p.send(batchOf(3)...))
			require.Eventually(t, func() bool { return r.places.Ready(t.Context()) != nil }, patience, often)
			require.ErrorContains(t, r.places.Ready(t.Context()), want)
			continue
		}
		s.start()
		require.Eventually(t, func() bool { return strings.Contains(s.logs.String(), want) }, patience, often, "%s", s.logs)
	}
}

func TestBucketSettingsThatAreRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"url: http://s3.example\nbucket: b":                   "https://",
		"url: https://s3.example":                             "bucket",
		"url: https://s3.example/b\nbucket: b":                "setting of its own",
		"url: https://s3.example\nbucket: b\nmode: none":      "compliance",
		"url: https://s3.example\nbucket: b\nretain_days: -1": "retain_days",
	} {
		var b CheckpointBucket
		require.NoError(t, yaml.Unmarshal([]byte(text), &b))
		require.ErrorContains(t, b.Validate(), want, text)
	}
	b := CheckpointBucket{URL: "https://s3.example", Bucket: "b"}
	require.NoError(t, b.Validate())
	require.Equal(t, 2555, b.RetainDays)
	require.NoError(t, (&CheckpointBucket{}).Validate())
}
