// go-oidc, with its defaults. Arguments and lines are those of start.mjs.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"

	oidc "github.com/coreos/go-oidc"
)

func say(err error) {
	why := ""
	if err != nil {
		why = err.Error()
	}
	line, _ := json.Marshal(why)
	fmt.Println(string(line))
}

func main() {
	issuer, audience := os.Args[1], os.Args[2]
	base, err := url.Parse(issuer)
	if err != nil {
		panic(err)
	}
	fmt.Println("ready")
	for {
		connection, err := net.Dial("tcp", "127.0.0.1:"+base.Port())
		if err == nil {
			connection.Close()
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	ctx := context.Background()
	provider, err := oidc.NewProvider(ctx, issuer)
	say(err)
	if err != nil {
		os.Exit(1)
	}
	verifier := provider.Verifier(&oidc.Config{ClientID: audience})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		_, err := verifier.Verify(ctx, lines.Text())
		say(err)
	}
}
