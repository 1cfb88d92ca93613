package main

import (
	"fmt"
	"io"
	"time"
)

// row is one line of the table: a figure beside its baseline.
type row struct {
	name, unit, baselineName string
	ours, baseline           float64
	target                   float64 // least ratio that the issue asks for; 0 where it asks for none
	note                     string
}

func (r row) write(w io.Writer) {
	ratio := r.ours / r.baseline
	verdict := ""
	if r.target > 0 {
		verdict = fmt.Sprintf(", target %.2f: reached", r.target)
		if ratio < r.target {
			verdict = fmt.Sprintf(", target %.2f: MISSED", r.target)
		}
	}
	fmt.Fprintf(w, "| %s | %.0f %s | %.0f %s (%s) | **%.2f**%s | %s |\n",
		r.name, r.ours, r.unit, r.baseline, r.unit, r.baselineName, ratio, verdict, r.note)
}

func header(w io.Writer) {
	fmt.Fprintln(w, "| figure | carekeep | baseline | ratio | note |")
	fmt.Fprintln(w, "|---|---|---|---|---|")
}

func latency(s sample) string {
	return fmt.Sprintf("p50 %s, p99 %s, %s of processor", s.p50.Round(10*time.Microsecond), s.p99.Round(10*time.Microsecond), s.cpu.Round(time.Microsecond))
}
