/* The LRU lock made safe against interrupts ("Rik's proposal for a spin_lock_irqed list that would
 * hurt in all the vm fast paths"): whoever takes it, in the fault, the free and the scan, switches
 * the interrupts of its CPU off. Right, and paid for everywhere (`holdfast-bench free`). The count
 * still comes to 0 while the page is on the list, so the scan still needs its check.
 *
 *   -DINTERRUPTS_ON  the same lock without switching interrupts off: deadlock.
 */
#include "machine.pml"

inline lock_lru_irqsave(cpu, context) {
#ifndef INTERRUPTS_ON
  if
  :: context == TASK -> interrupts_off[cpu] = true
  :: else /* in an interrupt they are off anyhow */
  fi;
#endif
  lock_lru(cpu)
}

inline unlock_lru_irqrestore(cpu, context) {
  unlock_lru();
  if
  :: context == TASK -> interrupts_off[cpu] = false
  :: else
  fi
}

inline add_to_lru(p, cpu) {
  lock_lru_irqsave(cpu, TASK);
  on_lru[p] = true;
  printf("cpu %d: page %d is on the LRU\n", cpu, p);
  unlock_lru_irqrestore(cpu, TASK)
}

inline put(p, cpu, context) {
  d_step { assert(count[p] > 0); count[p]--; last = (count[p] == 0) }
  if
  :: last ->
     printf("cpu %d: drops the last reference of page %d, in interrupt: %d\n", cpu, p, context);
     lock_lru_irqsave(cpu, context);
     on_lru[p] = false;
     unlock_lru_irqrestore(cpu, context);
     give_to_free_lists(p)
  :: else
  fi
}

inline look(p, cpu) {
  mine = false;
  lock_lru_irqsave(cpu, TASK);
  if
  :: on_lru[p] ->
     check_listed(p);
     d_step {
       if
       :: count[p] != 0 -> count[p]++; mine = true
       :: else
       fi
     }
  :: else
  fi;
  unlock_lru_irqrestore(cpu, TASK);
  if
  :: mine -> put(p, cpu, TASK)
  :: else
  fi
}

#include "scenario.pml"
