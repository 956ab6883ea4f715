package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"time"
)

// The protocol between a suite and its runner: one line a case on standard output, `PASS name`,
// `FAIL name reason`, `LACKS name why` for what the client itself cannot do, and `INFO key=value`.
// `LEADERS` and `KILL-LEADER` are requests; the runner answers each with one line on standard input.
var (
	failed int
	input  = bufio.NewReader(os.Stdin)
)

func say(format string, arguments ...any) {
	fmt.Printf(format+"\n", arguments...)
}

func ask(request string) string {
	say("%s", request)
	answer, problem := input.ReadString('\n')
	if problem != nil {
		panic("the runner went away: " + problem.Error())
	}
	return strings.TrimSpace(answer)
}

func runCase(name string, test func()) {
	defer func() {
		if problem := recover(); problem != nil {
			failed++
			say("FAIL %s %s", name, strings.ReplaceAll(fmt.Sprint(problem), "\n", " "))
			return
		}
		say("PASS %s", name)
	}()
	test()
}

func check(holds bool, format string, arguments ...any) {
	if !holds {
		panic(fmt.Sprintf(format, arguments...))
	}
}

func succeeded(problem error) {
	if problem != nil {
		panic(problem)
	}
}

// await asks for what another goroutine of the client brings about.
func await(limit time.Duration, what string, holds func() bool) {
	end := time.Now().Add(limit)
	for !holds() {
		check(time.Now().Before(end), "after %s still not: %s", limit, what)
		time.Sleep(5 * time.Millisecond)
	}
}
