; The executor: threads that carry out a program of compiled calls, without Python in between.
;
; A program is a list of stages, a stage a list of pieces, a piece a list of calls, one after the other.  The pieces of
; a stage are taken by whichever thread is free; the next stage begins when all are done.
;
; The ticket is one word, the number of the stage published last above the number of its pieces that nobody has taken
; yet.  Taking a piece is a compare-and-swap of the whole word, so a thread that wakes late can't take a piece of another
; stage than the one it looked at; and as no stage ends before its pieces are done, whoever has taken one may read the
; description of the stage.  The thread that finishes the last piece publishes the next stage.  All threads do the
; same, the caller's too; it differs only in that it returns, at the end and from time to time (see below).
;
; A thread that finds nothing to take spins for a while, then sleeps.  It counts itself among the sleepers before it
; looks at the ticket for the last time, and a publisher looks at the sleepers after it has changed the ticket: one of
; them sees the other.
;
; The order of memory, which ARM processors keep only where they are told to:
; - A thread that takes a piece reads the ticket that the stage's publisher wrote, or what others made of it by taking
;   pieces, which is one release sequence.  So it sees the description of the stage, and all that the publisher saw.
; - The thread that finishes the last piece adds to a count that those who finished the others have added to, so it sees
;   what they computed; and so does, by the next ticket, whoever takes a piece of the next stage.
; - The caller returns for good only after it has read "finished", which is written after all that.  It tells Python so
;   by "over", a word that no other thread touches: Python's own reading of "finished" would put nothing in order.
; - "One of them sees the other" (the sleepers and the ticket; the sleepers and "quit") needs more than release and
;   acquire: a write must not change places with a read that follows it.  All of these are seq_cst, and "quit" is
;   written here, not by Python.
; - A kernel may have been compiled after its thread was started.  The compiler has made sure that processors fetch it
;   from now on, but one may have fetched ahead what was there before: "synchronise" discards that.
; What Python writes before a program begins is published by the same thread, with the first ticket.
;
; Words of the state.  What is written often stands on lines of the cache of its own, which have 128 bytes on Apple's
; processors; a mutex and a condition variable have at most 64 bytes (macOS) where this was looked up.
;    0 ticket   16 pieces done   32 sleepers   48 finished (the program)
;   64 pieces of the stage   65 where their calls begin (table of addresses)   66 number of the stage   67 stages
;   68 table of stages: pieces, table of pieces   69 times at which each stage began, and the last ended
;   70 scratch memory   71 bytes of it for each thread   72 cancelled   73 quit   74 how often to spin   75 begin
;   76 over (the program, as the caller knows)   80 mutex   96 condition variable
;
; What begins with a dollar sign is filled in.

declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_signal(ptr)
declare i32 @pthread_cond_broadcast(ptr)
declare i32 @clock_gettime(i32, ptr)
$declaration

define internal i64 @nanoseconds() {
  %time = alloca [2 x i64]
  call i32 @clock_gettime(i32 $clock, ptr %time)
  %seconds = load i64, ptr %time
  %part.at = getelementptr i64, ptr %time, i64 1
  %part = load i64, ptr %part.at
  %whole = mul i64 %seconds, 1000000000
  %sum = add i64 %whole, %part
  ret i64 %sum
}

; Carries out the calls of a piece: function, number of arguments, arguments; a null function ends them.
define internal void @carry_out(ptr %state, i64 %piece, ptr %scratch) {
  %cancelled.at = getelementptr i64, ptr %state, i64 72
  %cancelled = load atomic i64, ptr %cancelled.at seq_cst, align 8
  %go = icmp eq i64 %cancelled, 0
  br i1 %go, label %find, label %done
find:
  %pieces.at = getelementptr i64, ptr %state, i64 65
  %pieces = load ptr, ptr %pieces.at
  %piece.at = getelementptr ptr, ptr %pieces, i64 %piece
  %first = load ptr, ptr %piece.at
  br label %next
next:
  %row = phi ptr [ %first, %find ], [ %after, %call ]
  %function = load ptr, ptr %row
  %ended = icmp eq ptr %function, null
  br i1 %ended, label %done, label %call
call:
  %count.at = getelementptr i64, ptr %row, i64 1
  %count = load i64, ptr %count.at
  %arguments = getelementptr i64, ptr %row, i64 2
  call void %function(ptr %arguments, ptr %scratch)
  %after = getelementptr i64, ptr %arguments, i64 %count
  br label %next
done:
  ret void
}

; Wakes so many of the sleepers, or all of them.
define internal void @wake(ptr %state, i64 %count) {
  %sleepers.at = getelementptr i64, ptr %state, i64 32
  %mutex = getelementptr i64, ptr %state, i64 80
  %condition = getelementptr i64, ptr %state, i64 96
  %sleepers = load atomic i64, ptr %sleepers.at seq_cst, align 8
  %few = icmp slt i64 %count, %sleepers
  %number = select i1 %few, i64 %count, i64 %sleepers
  %nobody = icmp sle i64 %number, 0
  br i1 %nobody, label %done, label %lock
lock:
  call i32 @pthread_mutex_lock(ptr %mutex)
  br i1 %few, label %one, label %all
one:
  %left = phi i64 [ %number, %lock ], [ %less, %one ]
  call i32 @pthread_cond_signal(ptr %condition)
  %less = sub i64 %left, 1
  %more = icmp sgt i64 %less, 0
  br i1 %more, label %one, label %unlock
all:
  call i32 @pthread_cond_broadcast(ptr %condition)
  br label %unlock
unlock:
  call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %done
done:
  ret void
}

; Publishes the next stage, or the end of the program.
define internal void @advance(ptr %state) {
  %stage.at = getelementptr i64, ptr %state, i64 66
  %old = load i64, ptr %stage.at
  %stage = add i64 %old, 1
  store i64 %stage, ptr %stage.at
  %times.at = getelementptr i64, ptr %state, i64 69
  %times = load ptr, ptr %times.at
  %time.at = getelementptr i64, ptr %times, i64 %stage
  %now = call i64 @nanoseconds()
  store i64 %now, ptr %time.at
  %ticket = load atomic i64, ptr %state seq_cst, align 8
  %high = lshr i64 %ticket, 32
  %next = add i64 %high, 1
  %published = shl i64 %next, 32
  %stages.at = getelementptr i64, ptr %state, i64 67
  %stages = load i64, ptr %stages.at
  %more = icmp slt i64 %stage, %stages
  br i1 %more, label %begin, label %end
begin:
  %table.at = getelementptr i64, ptr %state, i64 68
  %table = load ptr, ptr %table.at
  %twice = mul i64 %stage, 2
  %entry = getelementptr i64, ptr %table, i64 %twice
  %count = load i64, ptr %entry
  %pieces.from = getelementptr ptr, ptr %entry, i64 1
  %pieces = load ptr, ptr %pieces.from
  %count.at = getelementptr i64, ptr %state, i64 64
  store i64 %count, ptr %count.at
  %pieces.at = getelementptr i64, ptr %state, i64 65
  store ptr %pieces, ptr %pieces.at
  %done.at = getelementptr i64, ptr %state, i64 16
  store atomic i64 0, ptr %done.at seq_cst, align 8
  %filled = or i64 %published, %count
  store atomic i64 %filled, ptr %state seq_cst, align 8
  %others = sub i64 %count, 1
  call void @wake(ptr %state, i64 %others)
  ret void
end:
  %finished.at = getelementptr i64, ptr %state, i64 48
  store atomic i64 1, ptr %finished.at seq_cst, align 8
  store atomic i64 %published, ptr %state seq_cst, align 8
  call void @wake(ptr %state, i64 1000000)
  ret void
}

; What a thread does: thread 0, the caller's, until the program is finished, or for 20 ms at least, so that Python can
; attend to signals; the others until they are told to quit.  "Thread" -1 tells them instead.
define void @"$symbol"(ptr %row, ptr %unused) {
  %spins = alloca i64
  %state = load ptr, ptr %row
  %thread.at = getelementptr i64, ptr %row, i64 1
  %thread = load i64, ptr %thread.at
  %done.at = getelementptr i64, ptr %state, i64 16
  %sleepers.at = getelementptr i64, ptr %state, i64 32
  %finished.at = getelementptr i64, ptr %state, i64 48
  %count.at = getelementptr i64, ptr %state, i64 64
  %scratch.at = getelementptr i64, ptr %state, i64 70
  %share.at = getelementptr i64, ptr %state, i64 71
  %quit.at = getelementptr i64, ptr %state, i64 73
  %spins.at = getelementptr i64, ptr %state, i64 74
  %begin.at = getelementptr i64, ptr %state, i64 75
  %over.at = getelementptr i64, ptr %state, i64 76
  %mutex = getelementptr i64, ptr %state, i64 80
  %condition = getelementptr i64, ptr %state, i64 96
  %most_spins = load i64, ptr %spins.at
  %is_caller = icmp eq i64 %thread, 0
  %start = call i64 @nanoseconds()
  store i64 0, ptr %spins
  %is_bell = icmp slt i64 %thread, 0
  br i1 %is_bell, label %ring, label %enter
ring:
  store atomic i64 1, ptr %quit.at seq_cst, align 8
  call void @wake(ptr %state, i64 1000000)
  ret void
enter:
  br i1 %is_caller, label %check, label %look
check:
  %begin = load i64, ptr %begin.at
  store i64 0, ptr %begin.at
  %is_new = icmp ne i64 %begin, 0
  br i1 %is_new, label %publish, label %look
publish:
  call void @advance(ptr %state)
  br label %look

look:
  %ticket = load atomic i64, ptr %state seq_cst, align 8
  %remaining = and i64 %ticket, 4294967295
  %is_empty = icmp eq i64 %remaining, 0
  br i1 %is_empty, label %idle, label %claim
claim:
  %taken = sub i64 %ticket, 1
  %exchange = cmpxchg ptr %state, i64 %ticket, i64 %taken seq_cst seq_cst
  %is_ours = extractvalue { i64, i1 } %exchange, 1
  br i1 %is_ours, label %work, label %look
work:
  $synchronise
  %count = load i64, ptr %count.at
  %piece = sub i64 %count, %remaining
  %memory = load ptr, ptr %scratch.at
  %share = load i64, ptr %share.at
  %before = mul i64 %share, %thread
  %scratch = getelementptr i8, ptr %memory, i64 %before
  call void @carry_out(ptr %state, i64 %piece, ptr %scratch)
  store i64 0, ptr %spins
  %done = atomicrmw add ptr %done.at, i64 1 seq_cst
  %now_done = add i64 %done, 1
  %is_last = icmp eq i64 %now_done, %count
  br i1 %is_last, label %last, label %worked
last:
  call void @advance(ptr %state)
  br label %worked
worked:
  br i1 %is_caller, label %clock, label %look
clock:
  %now = call i64 @nanoseconds()
  %spent = sub i64 %now, %start
  %is_long = icmp sgt i64 %spent, 20000000
  br i1 %is_long, label %return, label %look
return:
  ret void

idle:
  %quit = load atomic i64, ptr %quit.at seq_cst, align 8
  %is_told = icmp ne i64 %quit, 0
  br i1 %is_told, label %return, label %stay
stay:
  %finished = load atomic i64, ptr %finished.at seq_cst, align 8
  %is_finished = icmp ne i64 %finished, 0
  %may_return = and i1 %is_finished, %is_caller
  br i1 %may_return, label %end, label %spin
end:
  store i64 1, ptr %over.at
  ret void
spin:
  %spun = load i64, ptr %spins
  %spun_now = add i64 %spun, 1
  store i64 %spun_now, ptr %spins
  %is_tired = icmp sge i64 %spun, %most_spins
  br i1 %is_tired, label %sleep, label %pause
pause:
  $pause
  br label %look
sleep:
  store i64 0, ptr %spins
  call i32 @pthread_mutex_lock(ptr %mutex)
  %asleep = atomicrmw add ptr %sleepers.at, i64 1 seq_cst
  br label %doze
doze:
  %seen = load atomic i64, ptr %state seq_cst, align 8
  %is_same = icmp eq i64 %seen, %ticket
  %quit_now = load atomic i64, ptr %quit.at seq_cst, align 8
  %is_kept = icmp eq i64 %quit_now, 0
  %is_to_sleep = and i1 %is_same, %is_kept
  br i1 %is_to_sleep, label %wait, label %rise
wait:
  call i32 @pthread_cond_wait(ptr %condition, ptr %mutex)
  br label %doze
rise:
  %awake = atomicrmw sub ptr %sleepers.at, i64 1 seq_cst
  call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %look
}
