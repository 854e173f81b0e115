// Sends with Segment's SDK for Go. Driver of tests/sdks/driver.py.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"github.com/segmentio/analytics-go/v3"
)

type given struct {
	URL, Key string
	Calls    []struct {
		Method, UserID, PreviousID, GroupID, Event, Name string
		Properties                                       map[string]any
		Traits                                           map[string]any
	}
}

var told sync.WaitGroup

type callback struct{}

func (callback) Success(analytics.Message) { told.Done() }

func (callback) Failure(_ analytics.Message, err error) {
	say(map[string]any{"said": "error", "reason": err.Error()})
	told.Done()
}

var stdout sync.Mutex

func say(line map[string]any) {
	stdout.Lock()
	defer stdout.Unlock()
	text, _ := json.Marshal(line)
	fmt.Println(string(text))
}

func main() {
	stdin := bufio.NewReader(os.Stdin)
	var asked given
	line, _ := stdin.ReadBytes('\n')
	if err := json.Unmarshal(line, &asked); err != nil {
		panic(err)
	}
	client, err := analytics.NewWithConfig(asked.Key, analytics.Config{Endpoint: asked.URL, Callback: callback{}})
	if err != nil {
		panic(err)
	}
	say(map[string]any{"said": "ready"})
	stdin.ReadBytes('\n')

	for _, call := range asked.Calls {
		messages := map[string]analytics.Message{
			"track":    analytics.Track{UserId: call.UserID, Event: call.Event, Properties: call.Properties},
			"identify": analytics.Identify{UserId: call.UserID, Traits: call.Traits},
			"page":     analytics.Page{UserId: call.UserID, Name: call.Name, Properties: call.Properties},
			"screen":   analytics.Screen{UserId: call.UserID, Name: call.Name, Properties: call.Properties},
			"group":    analytics.Group{UserId: call.UserID, GroupId: call.GroupID, Traits: call.Traits},
			"alias":    analytics.Alias{UserId: call.UserID, PreviousId: call.PreviousID},
		}
		told.Add(1)
		if err := client.Enqueue(messages[call.Method]); err != nil {
			say(map[string]any{"said": "error", "reason": err.Error()})
			told.Done()
		}
	}
	// Close drops the batches that wait for a retry.
	told.Wait()
	client.Close()
	say(map[string]any{"said": "closed"})
}
