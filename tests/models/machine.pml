/* What the three protocols have in common: two CPUs, an interrupt that frees, pages, one LRU list.
 *
 * A protocol says how a page gets on the list, how a reference is dropped and how the VM looks at a
 * page; it includes this file first and scenario.pml last. All three run the same scenario:
 *
 *   owner     CPU 0   allocates a page, adds it to the LRU, hands it to a transfer, drops its own
 *                     reference: a program that unmaps a buffer which a device is still filling
 *   transfer  any CPU an interrupt, at any moment when interrupts are on: drops the transfer's
 *                     reference, which may be the last (unmap_kiobuf from bttv's handler)
 *   vm        CPU 1   looks at the pages of the list all the time (shrink_cache; our Scanner)
 *
 * A task does not run while its CPU is in an interrupt: that is what `provided` says below. Each
 * line that touches shared state is one step, and the search tries every order of all steps.
 */
#define PAGES 2
#define ROUNDS 3 /* at most: more than pages, so that a page comes back and is used again */
#define TASK false
#define INTERRUPT true

byte count[PAGES];           /* Page::count() */
bool is_free[PAGES] = true;  /* on the free lists */
bool on_lru[PAGES];          /* on the LRU list */
bool in_flight[PAGES];       /* a transfer holds a reference of the page */
bool lru_lock;               /* pagemap_lru_lock */
bool in_interrupt[2];        /* the CPU is in an interrupt */
bool interrupts_off[2];      /* local_irq_disable() */
bool owner_done;

/* A spinlock: who cannot have it stays at this line. */
inline lock_lru(cpu) {
  atomic {
    !lru_lock -> lru_lock = true;
    printf("cpu %d: takes the LRU lock\n", cpu)
  }
}
inline unlock_lru() { lru_lock = false }

/* The free lists take a page only if nobody holds it, no list has it, and they have it not yet.
 * (They have a protection of their own in all three: a lock with interrupts off, a lock-free
 * stack. So this is one step.) */
inline give_to_free_lists(p) {
  d_step {
    printf("page %d goes to the free lists\n", p);
    assert(count[p] == 0);
    assert(!on_lru[p]);  /* a free page on a list */
    assert(!is_free[p]); /* freed twice */
    is_free[p] = true
  }
}

/* The list must not name a page that is free. */
inline check_listed(p) { assert(!(on_lru[p] && is_free[p])) }
