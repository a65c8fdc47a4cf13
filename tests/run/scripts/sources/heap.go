// Fills a map and slices, makes garbage in several goroutines, and prints what is left.
package main

import "C" // by cgo: linked to libc, so that something can be preloaded

import (
	"fmt"
	"hash/fnv"
	"sort"
	"sync"
)

func main() {
	words := map[int]string{}
	for i := 0; i < 60000; i++ {
		words[i*7919%65537] = fmt.Sprint("value ", i)
	}
	var sums [4]uint64
	var group sync.WaitGroup
	for t := range sums {
		group.Add(1)
		go func(mine int) {
			defer group.Done()
			var copied []string
			for i := mine; i < 65537; i += len(sums) {
				if word, ok := words[i]; ok {
					copied = append(copied, fmt.Sprint(word, mine))
				}
			}
			sort.Strings(copied)
			hash := fnv.New64a()
			for _, word := range copied {
				hash.Write([]byte(word))
			}
			sums[mine] = hash.Sum64()
		}(t)
	}
	group.Wait()
	large := make([]uint64, 9<<20)
	for i := range large {
		large[i] = uint64(i) * 0x9e3779b97f4a7c15
	}
	var all uint64
	for round := 0; round < 3; round++ {
		for _, each := range large {
			all = all*31 + each
		}
	}
	fmt.Println(sums, len(words), all)
}
