package ledger

import "time"

// goneRun is what one announcement has to answer for: lines without an event that name it.
type goneRun struct {
	Gone
	newest time.Time // when its newest entry was appended, by the checkpoint over it
	dated  bool      // false until that checkpoint comes
}

// gone takes an entry of which only the leaf hash is left and that names the entry by which it
// was let go. Whether that is so shows when that entry comes.
func (v *verification) gone(e Entry) {
	r := v.runs[*e.LetGo]
	if r == nil {
		r = &goneRun{}
		v.runs[*e.LetGo] = r
	}
	r.Add(e.Seq, e.Leaf)
	r.dated = false
	v.undated[*e.LetGo] = r
}

// date is called when a checkpoint is right: its time is that of all entries since the last one.
func (v *verification) date(at time.Time) {
	for n, r := range v.undated {
		r.newest, r.dated = at, true
		delete(v.undated, n)
	}
}

// announced holds what an entry says about entries that were let go to those that are gone.
// Where nothing is gone yet, there is nothing to say: the deletion follows the announcement.
func (v *verification) announced(e Entry, says *LetGo) {
	r := v.runs[e.Seq]
	if r == nil {
		return
	}
	delete(v.runs, e.Seq)
	wrong := func(format string, args ...any) {
		v.add(EntryMissing, r.First, r.Last, "%d of them are gone: "+format, append([]any{r.Count}, args...)...)
	}
	switch {
	case says == nil:
		wrong("entry %d does not say that retention let them go", e.Seq)
	case !r.are(says):
		wrong("entry %d says that retention let others go", e.Seq)
	case !r.dated || e.AppendTime == nil:
		wrong("no checkpoint says when they were appended")
	case !r.newest.Before(says.Cutoff):
		wrong("they are younger than entry %d says", e.Seq)
	case says.Class.KeptUntil(r.newest).After(*e.AppendTime):
		wrong("entry %d let them go before %s", e.Seq, says.Class.KeptUntil(r.newest).Format(time.RFC3339))
	default:
		v.report.LetGo += r.Count
	}
}

// unannounced names what nobody answered for until the end.
func (v *verification) unannounced() {
	for n, r := range v.runs {
		v.add(EntryMissing, r.First, r.Last, "%d of them are gone, and no later entry %d says why", r.Count, n)
	}
}
