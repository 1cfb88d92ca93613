package main

import (
	"os"
	"time"

	"github.com/prometheus/procfs"
)

// cpuTime is the processor time that this process and all that descend from it have used:
// the load, the suite with its PostgreSQL, broker and transit, and the baseline. Unlike
// throughput it hardly depends on what else the machine does. It is 0 where /proc cannot be
// read, and leaves out processes that have ended.
func cpuTime() time.Duration {
	processes, err := procfs.AllProcs()
	if err != nil {
		return 0
	}
	parents, used := map[int]int{}, map[int]float64{}
	for _, p := range processes {
		stat, err := p.Stat()
		if err != nil {
			continue // it has ended
		}
		parents[p.PID], used[p.PID] = stat.PPID, stat.CPUTime()
	}
	var seconds float64
	for pid, s := range used {
		if descends(pid, parents) {
			seconds += s
		}
	}
	return time.Duration(seconds * float64(time.Second))
}

func descends(pid int, parents map[int]int) bool {
	for pid != 0 {
		if pid == os.Getpid() {
			return true
		}
		pid = parents[pid]
	}
	return false
}
