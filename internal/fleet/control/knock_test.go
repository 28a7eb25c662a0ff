package control

import (
	"testing"
	"time"

	"pennyfarthing/internal/probe"
	"pennyfarthing/internal/verdict"
)

func TestAConnectionOfTheKnockIsUsedOnceAndWhileItIsFresh(t *testing.T) {
	now := time.Unix(1000, 0)
	v := &verifier{fleet: &Fleet{Options: Options{Now: func() time.Time { return now }}}, knocks: make(map[string]map[probe.Protocol]knock)}
	pop := POP{Name: "au", Edge: "127.0.0.1:1"}
	knocked := v.client(pop, probe.HTTP2)
	answered := func(age time.Duration) {
		v.knocks[pop.Name] = map[probe.Protocol]knock{probe.HTTP2: {verdict: verdict.OK, client: knocked, at: now.Add(-age)}}
	}

	answered(fresh - time.Second)
	if v.reached(pop, probe.HTTP1).client == knocked {
		t.Error("a connection of one protocol is used for another")
	}
	if v.reached(pop, probe.HTTP2).client != knocked {
		t.Error("a fresh connection is not used")
	}
	if v.reached(pop, probe.HTTP2).client == knocked {
		t.Error("a connection that somebody uses is given to somebody else")
	}

	answered(fresh)
	if v.reached(pop, probe.HTTP2).client == knocked {
		t.Error("a connection is used that the server may have given up")
	}
	v.close()
	if v.knocks[pop.Name][probe.HTTP2].client != nil {
		t.Error("a connection that nobody used stays")
	}
}

func TestWhatProtocolsFoundIsAddedUp(t *testing.T) {
	out := &Verified{Certificate: verdict.OK}
	many := make([]Difference, maxDifferences)
	out.add(&Verified{URLs: 3, Certificate: verdict.OK})
	out.add(&Verified{Others: 2, Differences: 150, Differs: many, Certificate: verdict.TLSExpired})
	out.add(&Verified{Others: 1, Differences: 1, Differs: many[:1], Certificate: verdict.OK})
	if out.URLs != 3 || out.Others != 3 || out.Differences != 151 || len(out.Differs) != maxDifferences || out.Certificate != verdict.TLSExpired {
		t.Errorf("%d URLs, %d others, %d differences of which %d are told, certificate %v", out.URLs, out.Others, out.Differences, len(out.Differs), out.Certificate)
	}
}
