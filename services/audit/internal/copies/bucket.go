package copies

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	// BucketEvery is longer than Every: each object stays for years.
	BucketEvery = time.Minute
	// maxObject bounds what is read back; a checkpoint has about 250 bytes.
	maxObject = 16 << 10
	day       = 24 * time.Hour
)

// BucketOptions say which bucket, and how long nobody can remove a copy from it.
type BucketOptions struct {
	Endpoint, Bucket, Region, Prefix string // Endpoint is host:port
	Plaintext                        bool   // without TLS, for this machine only
	// AccessKey and SecretKey; where empty, those of the machine or pod (IAM).
	AccessKey, SecretKey string
	// RetainDays is for how long, from the checkpoint's time, the object is locked.
	RetainDays int
	// Governance lets those with a special permission shorten the lock; else nobody can (compliance mode).
	Governance bool
	Log        *slog.Logger
}

// Bucket keeps copies in S3 under object lock, named as in a Folder: {prefix}{day}/{size}.note. Objects are made
// and never replaced, by a conditional put; and since the bucket has versions, one that somebody puts over or
// deletes is still there and still read.
type Bucket struct {
	*queue
	opts   BucketOptions
	client *minio.Client
}

// OpenBucket does not wait for the server: Ready tells when copies cannot be written.
func OpenBucket(o BucketOptions) (*Bucket, error) {
	from := credentials.NewIAM("")
	if o.AccessKey != "" {
		from = credentials.NewStaticV4(o.AccessKey, o.SecretKey, "")
	}
	client, err := minio.New(o.Endpoint, &minio.Options{Creds: from, Secure: !o.Plaintext, Region: o.Region})
	if err != nil {
		return nil, fmt.Errorf("checkpoint bucket: %w", err)
	}
	b := &Bucket{opts: o, client: client}
	b.queue = newQueue(BucketEvery, b.put, o.Log)
	return b, nil
}

// put makes the object, unless it is there.
func (b *Bucket) put(ctx context.Context, signed string) error {
	c, err := parse(signed)
	if err != nil {
		return err
	}
	key := path.Join(b.opts.Prefix, c.Time.Format(time.DateOnly), strconv.FormatInt(c.Size, 10)+suffix)
	mode := minio.Compliance
	if b.opts.Governance {
		mode = minio.Governance
	}
	o := minio.PutObjectOptions{
		ContentType: "text/plain; charset=utf-8", DisableMultipart: true, SendContentMd5: true, // which object lock asks for
		Mode: mode, RetainUntilDate: c.Time.Add(time.Duration(b.opts.RetainDays) * day),
	}
	o.SetMatchETagExcept("*")
	_, err = b.client.PutObject(ctx, b.opts.Bucket, key, strings.NewReader(signed), int64(len(signed)), o)
	if minio.ToErrorResponse(err).StatusCode == http.StatusPreconditionFailed {
		return b.compare(ctx, key, signed)
	}
	if err != nil {
		return b.failed("put "+key, err)
	}
	return nil
}

// compare takes an object that is there already, if it holds the same.
func (b *Bucket) compare(ctx context.Context, key, signed string) error {
	old, err := b.read(ctx, key, "")
	if err != nil {
		return err
	}
	if old != signed {
		return fmt.Errorf("checkpoint bucket %s: %s holds another checkpoint", b.opts.Bucket, key)
	}
	return nil
}

func (b *Bucket) read(ctx context.Context, key, version string) (string, error) {
	object, err := b.client.GetObject(ctx, b.opts.Bucket, key, minio.GetObjectOptions{VersionID: version})
	if err != nil {
		return "", b.failed("get "+key, err)
	}
	defer func() { _ = object.Close() }()
	raw, err := io.ReadAll(io.LimitReader(object, maxObject))
	if err != nil {
		return "", b.failed("get "+key, err)
	}
	return string(raw), nil
}

// Newest returns the largest checkpoint in the bucket, also where a delete marker or a later version lies over it.
func (b *Bucket) Newest(ctx context.Context) (string, error) {
	days, err := b.list(ctx, b.prefix(), false)
	if err != nil {
		return "", err
	}
	for _, folder := range slices.Backward(days) {
		if !strings.HasSuffix(folder.Key, "/") {
			continue
		}
		objects, err := b.list(ctx, folder.Key, true)
		if err != nil {
			return "", err
		}
		if found := largestObject(objects); found.Key != "" {
			return b.read(ctx, found.Key, found.VersionID)
		}
	}
	return "", nil
}

// largestObject is the first version of the largest checkpoint: what came later than the first put is not ours.
func largestObject(objects []minio.ObjectInfo) minio.ObjectInfo {
	var best minio.ObjectInfo
	most := int64(0)
	for _, o := range objects {
		size, ok := sizeOf(path.Base(o.Key))
		if o.IsDeleteMarker || !ok || size < most || size == most && o.LastModified.After(best.LastModified) {
			continue
		}
		most, best = size, o
	}
	return best
}

func (b *Bucket) prefix() string {
	if b.opts.Prefix == "" {
		return ""
	}
	return strings.TrimSuffix(b.opts.Prefix, "/") + "/"
}

func (b *Bucket) list(ctx context.Context, prefix string, versions bool) ([]minio.ObjectInfo, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var found []minio.ObjectInfo
	// Days too are listed with versions: one whose objects all have delete markers is a day.
	for o := range b.client.ListObjects(ctx, b.opts.Bucket, minio.ListObjectsOptions{Prefix: prefix, WithVersions: true, Recursive: versions}) {
		if o.Err != nil {
			return nil, b.failed("list "+prefix, o.Err)
		}
		found = append(found, o)
	}
	slices.SortFunc(found, func(x, y minio.ObjectInfo) int { return strings.Compare(x.Key, y.Key) })
	return found, nil
}

// failed says what to change where S3's own text does not.
func (b *Bucket) failed(what string, err error) error {
	hint := ""
	switch response := minio.ToErrorResponse(err); {
	case response.Code == minio.NoSuchBucket:
		hint = "; make it, with object lock"
	case strings.Contains(strings.ToLower(strings.ReplaceAll(response.Message, " ", "")), "objectlock"):
		hint = "; make a bucket with object lock, which can be chosen only when it is made"
	case response.StatusCode == http.StatusForbidden:
		hint = "; the key needs s3:PutObject, PutObjectRetention, GetObject, GetObjectVersion, ListBucket and ListBucketVersions"
	case errors.Is(err, context.DeadlineExceeded):
		hint = "; it does not answer"
	}
	return fmt.Errorf("checkpoint bucket %s: %s: %w%s", b.opts.Bucket, what, err, hint)
}
