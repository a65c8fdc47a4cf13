/* Ours, and the mail's: the VM holds a reference of its own from the moment it knows the page
 * ("bump the page->count by the time the anonymous page is added to the lru"). Count 0 then means
 * free, and only free: the free path looks at no list and takes no lock, the scan needs no check.
 *
 * In the code: add_to_lru is FramePool::get(page, Holder::vm) and Lru::add, put is FramePool::put,
 * look is Lru::oldest_inactive, then Lru::remove and the VM's put (docs/ownership.md).
 *
 *   -DNO_VM_REFERENCE  the VM takes none: a free page is on the list.
 *   -DADD_FIRST        the VM takes it only after the page is on the list: too late.
 *   -DVM_FORGETS       the VM unlinks the page and keeps its reference: the page is lost.
 *   -DVM_DROPS_FIRST   the VM drops its reference before it unlinks.
 */
#include "machine.pml"

inline vm_takes(p) {
#ifndef NO_VM_REFERENCE
  count[p]++
#else
  skip
#endif
}

inline add_to_lru(p, cpu) {
#ifndef ADD_FIRST
  vm_takes(p);
#endif
  d_step { /* the intake is lock-free: one exchange */
    on_lru[p] = true;
    printf("cpu %d: page %d is on the LRU\n", cpu, p)
  }
#ifdef ADD_FIRST
  ;
  vm_takes(p)
#endif
}

/* Any holder, any context, any time. */
inline put(p, cpu, context) {
  d_step { assert(count[p] > 0); count[p]--; last = (count[p] == 0) }
  if
  :: last ->
     printf("cpu %d: drops the last reference of page %d, in interrupt: %d\n", cpu, p, context);
     give_to_free_lists(p)
  :: else
  fi
}

inline look(p, cpu) {
  mine = false;
  lock_lru(cpu);
  if
  :: on_lru[p] ->
     check_listed(p);
     assert(count[p] > 0); /* the law: what is on a list has the VM's reference */
     count[p]++;           /* so this needs no check */
     mine = true
  :: else
  fi;
  unlock_lru();
  if
  :: mine && count[p] == 2 -> /* the VM and whoever looks: nobody else can come by it any more */
     printf("cpu %d vm: nobody else holds page %d\n", cpu, p);
#ifdef VM_DROPS_FIRST
     put(p, cpu, TASK);
     put(p, cpu, TASK);
#endif
     lock_lru(cpu);
     on_lru[p] = false;
     unlock_lru();
#ifndef VM_FORGETS
#ifndef VM_DROPS_FIRST
     put(p, cpu, TASK); /* the VM's */
#endif
#endif
#ifndef VM_DROPS_FIRST
     put(p, cpu, TASK)  /* that of whoever looked */
#endif
  :: mine && count[p] != 2 -> put(p, cpu, TASK)
  :: else
  fi
}

#include "scenario.pml"
