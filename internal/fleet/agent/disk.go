package agent

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"

	"pennyfarthing/internal/fleet/api"
)

const (
	// diskReserve is what stays free on the file system whatever the budget says:
	// the machine's own programs need some, and so do heads and logs.
	diskReserve = 64 << 20
	// diskShare of what is there or free for it is the store's budget, in percent,
	// if nobody says otherwise.
	diskShare = 80
	// fallbackDisk is the budget where the system does not tell how large it is.
	fallbackDisk = 8 << 30
)

// A disk is the bound on what the store may take.
type disk struct {
	dir        string
	budget     int64
	used       func() (int64, error)
	fileSystem func(dir string) (size, free int64, err error)
}

// newDisk returns the bound for a store in dir. A budget of 0 is most of what
// there is room for now.
func newDisk(dir string, budget int64, used func() (int64, error)) (*disk, error) {
	d := &disk{dir: dir, budget: budget, used: used, fileSystem: fileSystem}
	if budget > 0 {
		return d, nil
	}
	_, free, err := d.fileSystem(dir)
	if err != nil {
		return nil, err
	}
	has, err := used()
	if err != nil {
		return nil, err
	}
	d.budget = fallbackDisk
	if free > 0 {
		d.budget = max((free+has)/100*diskShare, 1)
	}
	return d, nil
}

// room returns how many bytes the store may grow, and has.
func (d *disk) room() (room, used int64, err error) {
	if used, err = d.used(); err != nil {
		return 0, 0, err
	}
	room = d.budget - used
	size, free, err := d.fileSystem(d.dir)
	if err != nil {
		return 0, 0, err
	}
	if size > 0 {
		room = min(room, free-min(diskReserve, size/10)) // a small file system in a test has no room for the reserve
	}
	return max(room, 0), used, nil
}

// check is an error with numbers if need bytes do not fit.
func (d *disk) check(need int64) error {
	room, used, err := d.room()
	if err != nil {
		return err
	}
	if need <= room {
		return nil
	}
	return d.shortage(need, room, used)
}

func (d *disk) shortage(need, room, used int64) *api.Error {
	return &api.Error{
		Status: http.StatusInsufficientStorage, Code: api.CodeDiskFull,
		Message: fmt.Sprintf("this needs %d bytes, and there is room for %d", need, room),
		Hint:    "let the POP keep fewer releases, or give its agent a larger --disk",
		Disk:    &api.Shortage{Need: need, Free: room, Used: used, Budget: d.budget},
	}
}

// checkEvery is how many bytes of a stream pass between two looks at the disk.
const checkEvery = 4 << 20

// meter returns a reader of r that ends with a shortage when the disk has become
// too full to go on. What a stream expands to is known to the store, which the
// budget is compared with.
func (d *disk) meter(r io.Reader) *diskMeter { return &diskMeter{disk: d, r: r} }

type diskMeter struct {
	disk  *disk
	r     io.Reader
	read  int64
	since int64 // bytes since the last look
	full  error
}

// Read reads, and looks at the disk now and then.
func (m *diskMeter) Read(p []byte) (int, error) {
	if m.full != nil {
		return 0, m.full
	}
	if m.since >= checkEvery || m.read == 0 {
		m.since = 0
		if m.full = m.disk.check(1); m.full != nil {
			return 0, m.full
		}
	}
	n, err := m.r.Read(p)
	m.read += int64(n)
	m.since += int64(n)
	return n, err
}

// diskError turns what a full file system says into what the API says of it.
func (d *disk) diskError(err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	room, used, roomErr := d.room()
	if roomErr != nil {
		return errors.Join(err, roomErr)
	}
	shortage := d.shortage(1, room, used)
	shortage.Message = "the disk is full"
	return shortage
}

// status describes the disk.
func (d *disk) status() (api.DiskStatus, error) {
	s := api.DiskStatus{Budget: d.budget}
	var usedErr, err error
	s.Used, usedErr = d.used()
	s.Size, s.Free, err = d.fileSystem(d.dir)
	return s, errors.Join(usedErr, err)
}
