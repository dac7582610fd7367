# Checks, and readers in containers that read through all phases. Comes before service.sh and run.sh.
passed=0 failed=0
view=/var/lib/resview slots=/run/resview/slots readers=/run/readers

check() { # NAME COMMAND…
    local name=$1
    shift
    if "$@"; then
        echo "test $name ... ok"
        passed=$((passed + 1))
    else
        echo "test $name ... FAILED"
        failed=$((failed + 1))
    fi
}

# Waits until a command succeeds. The limit only bounds a hang: emulation is slow on a busy machine.
wait_for() { # COMMAND…
    local end=$(($(up_s) + 300))
    until "$@"; do
        [ "$(up_s)" -lt $end ] || return 1
        sleep 0.1
    done
}
not() { ! "$@"; }
# By a clock that is not stepped.
up_s() { cut -d . -f 1 /proc/uptime; }

# Two of them bind what they read from the mountpoint, the third from the slots, as slaves of these. They
# keep what they opened at the beginning.
begin_reading() {
    begin_to_read 1 128 private $view && begin_to_read 2 256 private $view &&
        begin_to_read 3 384 slave $slots && wait_for all_have start.begun && return
    journalctl --no-pager -n 20 -u 'reader*'
    return 1
}
begin_to_read() { # NUMBER MEGABYTES PROPAGATION SOURCE
    mkdir -p "$readers/$1"
    echo start >"$readers/phase"
    systemd-run --quiet --collect --unit "reader$1" -p MemoryMax="$2M" -p CPUWeight=5 \
        unshare --mount --pid --fork --mount-proc --propagation "$3" \
        bash /vm/container.sh "$4" "$readers/$1" "$readers/phase" $(($2 * 1024))
}
all_have() { [ "$(ls "$readers"/*/"$1" 2>/dev/null | wc -l)" = 3 ]; }
# Each name once, but for `between`.
enter_phase() {
    rm -f "$readers"/*/"$1.begun"
    echo "$1" >"$readers/phase.new"
    mv "$readers/phase.new" "$readers/phase"
    wait_for all_have "$1.begun"
}

# Does something while the containers read; then all they read has to be right.
while_they_read() { # NAME COMMAND…
    local name=$1 begin
    shift
    begin=$(up_s)
    enter_phase "$name"
    check "$name" "$@"
    local took=$(($(up_s) - begin))
    check "${name}_and_no_read_fails" reads_were_good "$name" between
    echo "FIGURES systemd: $name in $took s: $(figures "$name")"
}
reads_were_good() { # PHASE NEXT
    enter_phase "$2" || echo "not all readers get on"
    wait_for all_have "$1.json" || { journalctl --no-pager -n 5 -u 'reader*'; return 1; }
    [ "$(grep -l '"good":true' "$readers"/*/"$1.json" | wc -l)" = 3 ] && return
    sed "s/^/reader: /" "$readers"/*/"$1.json"
    return 1
}
# The sums over all readers.
figures() { # PHASE
    echo "$(($(sum "$1" reads) + $(sum "$1" kept_reads))) reads, $(sum "$1" errors) errors," \
        "longest read $(values "$1" longest_ms | sort -n | tail -n 1) ms"
}
values() { sed -n "s/.*\"$2\":\([0-9]*\).*/\1/p" "$readers"/*/"$1.json"; }
sum() { values "$1" "$2" | awk '{ sum += $1 } END { print sum + 0 }'; }
