package timer

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// shorthands stand for a whole calendar expression (systemd.time(7)).
var shorthands = []string{"minutely", "hourly", "daily", "monthly", "weekly", "yearly", "annually", "quarterly", "semiannually"}

var (
	zoneRule = regexp.MustCompile(`^(UTC|[A-Z][A-Za-z]+(/[A-Za-z0-9_+-]+)+)$`)
	days     = []string{"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"}
)

// checkCalendar finds what systemd would refuse in a calendar expression: weekdays,
// date, time and zone, in this order, each of which may be left out.
func checkCalendar(text string) error {
	words := strings.Fields(text)
	if n := len(words); n > 1 && zoneRule.MatchString(words[n-1]) {
		words = words[:n-1]
	}
	if len(words) == 1 && slices.Contains(shorthands, strings.ToLower(words[0])) {
		return nil
	}
	if len(words) > 0 && isLetter(words[0]) {
		if err := checkDays(words[0]); err != nil {
			return err
		}
		words = words[1:]
		if len(words) == 0 {
			return nil
		}
	}
	if len(words) > 0 && strings.ContainsAny(words[0], "-~") && !strings.Contains(words[0], ":") {
		if err := checkDate(words[0]); err != nil {
			return err
		}
		words = words[1:]
		if len(words) == 0 {
			return nil
		}
	}
	if len(words) != 1 {
		return fmt.Errorf("%q is no time for systemd: want such as daily, Mon *-*-* 04:30 or *:0/15", text)
	}
	return checkTime(words[0])
}

func isLetter(word string) bool {
	c := word[0] | 0x20
	return c >= 'a' && c <= 'z'
}

func checkDays(word string) error {
	for _, part := range strings.Split(strings.TrimSuffix(word, ","), ",") {
		from, to, isRange := strings.Cut(part, "..")
		if !isRange {
			from, to, isRange = strings.Cut(part, "-")
		}
		if !isDay(from) || isRange && !isDay(to) {
			return fmt.Errorf("%q is no day of the week: want such as Mon, Sat,Sun or Mon..Fri", part)
		}
	}
	return nil
}

func isDay(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(days, func(d string) bool { return name == d || name == d[:3] })
}

func checkDate(word string) error {
	i := strings.LastIndexAny(word, "-~") // with ~ the days are counted from the end of the month
	day, word := word[i+1:], word[:i]
	year, month, hasYear := strings.Cut(word, "-")
	if !hasYear {
		year, month = "*", year
	}
	return errors.Join(component("year", year, 1970, 9999), component("month", month, 1, 12), component("day", day, 1, 31))
}

func checkTime(word string) error {
	parts := strings.Split(word, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return fmt.Errorf("%q is no time of day: want such as 04:30 or *:0/15", word)
	}
	err := errors.Join(component("hour", parts[0], 0, 23), component("minute", parts[1], 0, 59))
	if len(parts) == 3 {
		err = errors.Join(err, component("second", parts[2], 0, 59))
	}
	return err
}

// component checks one number of a date or time: *, a list, ranges, and steps.
func component(what, text string, low, high float64) error {
	for _, part := range strings.Split(text, ",") {
		base, step, hasStep := strings.Cut(part, "/")
		if n, err := number(step); hasStep && (err != nil || n <= 0) {
			return fmt.Errorf("%q is no step of a %s", step, what)
		}
		if base == "*" {
			continue
		}
		from, to, isRange := strings.Cut(base, "..")
		ends := []string{from}
		if isRange {
			ends = append(ends, to)
		}
		for _, end := range ends {
			if n, err := number(end); err != nil || n < low || n > high {
				return fmt.Errorf("%q is no %s: want %g to %g", end, what, low, high)
			}
		}
	}
	return nil
}

func number(text string) (float64, error) {
	if strings.Trim(text, "0123456789.") != "" {
		return 0, errors.New("no number")
	}
	return strconv.ParseFloat(text, 64)
}
