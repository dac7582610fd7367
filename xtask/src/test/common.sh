# How checks are counted, and cgroups of their own for everything that a script starts. Wants $place: a name
# for these, so that other runs on the same machine are left alone.
passed=0 failed=0 rows=() columns=()
declare -A cells

# The outcome of a check: in libtest's form, and for the table.
count() { # ENGINE CHECK ok|FAILED
    cells[$1 $2]=$3
    case " ${rows[*]-} " in *" $1 "*) ;; *) rows+=("$1") ;; esac
    case " ${columns[*]-} " in *" $2 "*) ;; *) columns+=("$2") ;; esac
    [ "$3" = ok ] && passed=$((passed + 1)) || failed=$((failed + 1))
    echo "test ${1}_$2 ... $3"
}
check() { # ENGINE CHECK COMMAND…
    local output
    if output=$("${@:3}" 2>&1); then
        count "$1" "$2" ok
    else
        count "$1" "$2" FAILED
        echo "$output" | tail -n 20
    fi
}
print_table() {
    local row column
    printf '\n%-24s' ''
    for row in "${rows[@]}"; do printf ' %-11s' "$row"; done
    for column in "${columns[@]}"; do
        printf '\n%-24s' "$column"
        for row in "${rows[@]}"; do printf ' %-11s' "${cells[$row $column]:--}"; done
    done
    printf '\n\n'
}
# In libtest's form, the logs where something failed; the status is that of the whole.
conclude() { # COMMAND_THAT_PRINTS_LOGS…
    local word=ok
    if [ $failed -gt 0 ]; then
        word=FAILED
        "$@"
    fi
    echo "test result: $word. $passed passed; $failed failed; 0 ignored"
    [ $failed = 0 ]
}

not() { ! "$@"; }
# Nothing here may hang the tests; it only bounds.
within() { timeout -k 1 300 "$@"; }
wait_for() { # COMMAND…
    local _
    for _ in $(seq "${tries-600}"); do
        # Without a number, in a trap this is the status from before the trap.
        "$@" && return 0
        sleep 0.1
    done
    echo "waited in vain for: $*"
    return 1
}

# LXC makes its cgroups beside those of its monitor, and only where that is in none with a limit. All
# that is started here is in these, so that it can be found again.
enter_own_cgroup() {
    local hierarchy dir file
    for hierarchy in $(hierarchies); do
        mkdir -p "$hierarchy/$place/self"
        for dir in "$place" "$place/self"; do
            for file in cpuset.cpus cpuset.mems; do
                [ ! -e "$hierarchy/$file" ] || cat "$hierarchy/$file" >"$hierarchy/$dir/$file"
            done
        done
        echo $$ >"$hierarchy/$place/self/cgroup.procs" || return
    done
}
hierarchies() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts; }
clean_up() {
    local hierarchy
    for hierarchy in $(hierarchies); do echo $$ >"$hierarchy/cgroup.procs"; done
    for hierarchy in $(hierarchies); do
        [ ! -d "$hierarchy/$place" ] || wait_for take_away "$hierarchy/$place"
        # Where LXC's monitors end: empty then.
        [ ! -d "$hierarchy/lxc.pivot" ] || rmdir "$hierarchy/lxc.pivot"
    done 2>/dev/null
}
take_away() { # CGROUP
    local pid
    find "$1" -name cgroup.procs -exec cat {} + | while read -r pid; do kill -9 "$pid"; done
    find "$1" -depth -type d -exec rmdir {} +
    [ ! -d "$1" ]
}
