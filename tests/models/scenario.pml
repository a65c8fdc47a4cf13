/* The three processes; see machine.pml. */
active proctype owner() provided (!in_interrupt[0]) {
  byte p, round;
  bool last, listed;
  do
  :: round < ROUNDS ->
     atomic { /* waits for a free page */
       if
       :: is_free[0] -> p = 0
       :: is_free[1] -> p = 1
       fi;
       is_free[p] = false;
       round++;
       assert(count[p] == 0 && !on_lru[p]);
       count[p] = 1;
       printf("cpu 0 owner: allocates page %d\n", p)
     }
     add_to_lru(p, 0);
     d_step { /* pins it: the transfer's own reference */
       count[p]++;
       in_flight[p] = true;
       printf("cpu 0 owner: hands page %d to a transfer\n", p)
     }
     put(p, 0, TASK)
  :: break /* after any number of rounds, or instead of waiting */
  od;
  owner_done = true
}

#define CAN_INTERRUPT(cpu) (in_flight[p] && !in_interrupt[cpu] && !interrupts_off[cpu])

active [PAGES] proctype transfer() {
  byte p = _pid - 1, cpu;
  bool last, listed;
end:
  do
  :: atomic {
       if
       :: CAN_INTERRUPT(0) -> cpu = 0
       :: CAN_INTERRUPT(1) -> cpu = 1
       fi;
       in_interrupt[cpu] = true;
       in_flight[p] = false;
       printf("cpu %d interrupt: the transfer of page %d is done\n", cpu, p)
     }
     put(p, cpu, INTERRUPT);
     atomic {
       printf("cpu %d interrupt: returns\n", cpu);
       in_interrupt[cpu] = false
     }
  od
}

#define TRANSFERS_DONE \
  (!in_flight[0] && !in_flight[1] && !in_interrupt[0] && !in_interrupt[1])

active proctype vm() provided (!in_interrupt[1]) {
  byte p;
  bool last, listed, mine;
  do
  :: !(owner_done && TRANSFERS_DONE) ->
     if
     :: p = 0
     :: p = 1
     fi;
     look(p, 1)
  :: owner_done && TRANSFERS_DONE -> break
  od;
  /* Everybody is done: after one look more at each page nothing may be lost. */
  p = 0;
  look(p, 1);
  p = 1;
  look(p, 1);
  d_step {
    assert(is_free[0] && is_free[1]);
    assert(!on_lru[0] && !on_lru[1]);
    assert(count[0] == 0 && count[1] == 0);
    assert(!lru_lock)
  }
}
