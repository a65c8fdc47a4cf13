/* Linux 2.4: the owner's reference is the only one, so the count may come to 0 while the page is
 * still on the LRU, and whoever frees has to take it off.
 *
 *   -DOOPS  as it was in February 2002: __free_pages_ok() has BUG() for an interrupt that frees a
 *           page on the LRU. Spin finds the way there: the oops of the mail.
 *   (none)  without that BUG(): why it is there. The interrupt waits for a lock that the task which
 *           it has interrupted holds.
 *   -DHACK  the hack of the thread: in an interrupt such a page is left for later, and whoever scans
 *           has to know that a page of the list may be nobody's.
 *   -DHACK -DCHECK_THEN_GET  the other side of the hack in two steps (is the count 0? then take a
 *           reference) instead of one: the VM takes hold of a page that is on its way out.
 */
#include "machine.pml"

bool deferred[PAGES]; /* the hack: freed in an interrupt, still on the LRU */

/* lru_cache_add(): no reference is taken. */
inline add_to_lru(p, cpu) {
  lock_lru(cpu);
  on_lru[p] = true;
  printf("cpu %d: page %d is on the LRU\n", cpu, p);
  unlock_lru()
}

inline take_off_and_free(p, cpu) {
  lock_lru(cpu);
  on_lru[p] = false;
  unlock_lru();
  give_to_free_lists(p)
}

/* __free_pages(): the last reference frees, whoever drops it. */
inline put(p, cpu, context) {
  d_step { assert(count[p] > 0); count[p]--; last = (count[p] == 0) }
  if
  :: last ->
     listed = on_lru[p]; /* if (PageLRU(page)) */
     printf("cpu %d: drops the last reference of page %d, on the LRU: %d, in interrupt: %d\n",
            cpu, p, listed, context);
     if
     :: listed && context == INTERRUPT ->
#ifdef HACK
        d_step { assert(!deferred[p]); deferred[p] = true }
#else
#ifdef OOPS
        assert(!(listed && in_interrupt[cpu])); /* BUG() */
#endif
        take_off_and_free(p, cpu)
#endif
     :: listed && context == TASK -> take_off_and_free(p, cpu)
     :: else -> give_to_free_lists(p)
     fi
  :: else
  fi
}

/* shrink_cache(): "Zero page counts can happen because we unlink the pages _after_ decrementing the
 * usage count". A page that somebody holds is taken hold of, worked on, and let go. */
inline look(p, cpu) {
  mine = false;
  lock_lru(cpu);
  if
  :: on_lru[p] ->
     check_listed(p);
#ifdef CHECK_THEN_GET
     if
     :: count[p] != 0 -> count[p]++; mine = true
     :: else
     fi
#else
     d_step {
       if
       :: count[p] != 0 -> count[p]++; mine = true
       :: else
       fi
     }
#endif
  :: else
  fi;
  unlock_lru();
  if
  :: mine -> put(p, cpu, TASK)
  :: else
  fi;
  if /* what interrupts have left behind */
  :: deferred[p] ->
     deferred[p] = false;
     take_off_and_free(p, cpu)
  :: else
  fi
}

#include "scenario.pml"
