package cli

import (
	"context"
	"fmt"
	"strconv"

	"holdfast/cmd/render"
	"holdfast/runner/audit"
	"holdfast/tasks/task"
)

// past shows what earlier audits came to.
func (a *auditing) past(ctx context.Context) error {
	if a.most < 0 {
		return usagef("0 shows all", "--number cannot be %d", a.most)
	}
	h, err := a.env.pastRuns(ctx)
	if err != nil {
		return err
	}
	defer h.Close() //nolint:errcheck // only read
	latest, err := h.Latest(ctx, audit.Kind)
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	if len(a.fleet.limit) > 0 {
		hosts, faults := a.fleet.hosts()
		if len(faults) > 0 {
			return faults.Err()
		}
		for _, host := range hosts {
			wanted[host.Name] = true
		}
	}
	var all []*audit.Report
	for _, d := range latest {
		if len(wanted) > 0 && !wanted[d.Host] {
			continue
		}
		list, err := a.stored(ctx, h, d.Host, a.most)
		if err != nil {
			return err
		}
		all = append(all, list...)
	}
	if a.output.format == "json" {
		return a.show(all)
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(a.env.Stdout, "the history has no audit of these hosts")
		return err
	}
	_, err = fmt.Fprint(a.env.Stdout, render.Table([]string{"host", "time", "run", "fail", "not known", "warning", "accepted", "pass", "n/a", "better", "worse"}, pastRows(all)))
	return err
}

func pastRows(all []*audit.Report) [][]string {
	var rows [][]string
	for _, r := range all {
		row := []string{r.Host, moment(r.Time), r.Run}
		for _, s := range task.FindingStates {
			row = append(row, strconv.Itoa(r.Counts()[s]))
		}
		better, worse := "-", "-"
		if r.Since != nil {
			better, worse = strconv.Itoa(len(r.Since.Better)), strconv.Itoa(len(r.Since.Worse))
		}
		rows = append(rows, append(row, better, worse))
	}
	return rows
}
