# Runs in a machine with a real systemd: installs the package, and has containers read the view
# non-stop while the service is restarted, killed, upgraded and stopped. No read may fail.
#
# In /vm: a.deb and b.deb, two builds of different versions; reader; container.sh.
# Prints a line for each check in libtest's form, and figures. Comes after the other files here.
set -u
export DEBIAN_FRONTEND=noninteractive

check package_installs dpkg -i /vm/a.deb
check service_is_active [ "$(show ActiveState)" = active ]
check service_is_enabled systemctl --quiet is-enabled resview
[ "$(show ActiveState)" = active ] || { systemctl --no-pager status resview; journalctl --no-pager -u resview; }
check systemd_understands_the_unit unit_is_clean
check the_supervisor_has_the_hosts_mounts sees_the_hosts_mounts
check the_view_is_mounted_on_the_host is_mounted
check the_host_reads_the_view answers
check slots_are_laid wait_for has_laid_slots 1
check no_new_privileges cannot_gain_privileges
check oom_killer_spares_the_supervisor is_spared_by_oom
check descriptors_are_stored stores_descriptors

check package_in_lxcfs_place_installs dpkg -i /vm/lxcfs.deb
check lxcfs_service_is_active [ "$(systemctl is-active lxcfs)" = active ]
[ "$(systemctl is-active lxcfs)" = active ] || journalctl --no-pager -u lxcfs -n 40
check lxcfs_unit_is_understood unit_is_clean lxcfs
check the_command_is_an_alternative [ "$(readlink -f /usr/bin/lxcfs)" = /usr/bin/resview ]
check container_begins_under_lxcfs begin_container under_lxcfs private /var/lib/lxcfs
check lxcfs_restarts_unnoticed does_not_lose under_lxcfs systemctl restart lxcfs
check lxcfs_reloads_unnoticed does_not_lose under_lxcfs systemctl reload lxcfs
check package_in_lxcfs_place_is_removed_unnoticed does_not_lose under_lxcfs dpkg -r resview-lxcfs
check the_alternative_is_gone [ ! -e /usr/bin/lxcfs ]
check hooks_that_containers_know_are_there /usr/share/lxcfs/lxc.mount.hook
check the_last_worker_ends_when_told resview stop --mountpoint /var/lib/lxcfs
check package_in_lxcfs_place_is_purged dpkg -P resview-lxcfs
systemctl stop under_lxcfs

cp /vm/reader /usr/local/bin/reader
check readers_start begin_reading
while_they_read nothing_happens sleep 2
while_they_read restarted_20_times repeat 20 restart
while_they_read supervisor_and_worker_killed_3_times repeat 3 kill_all
while_they_read supervisor_killed_3_times repeat 3 kill_supervisor
while_they_read worker_killed_5_times repeat 5 kill_worker
while_they_read upgraded_3_times_by_dpkg repeat 3 upgrade_by_dpkg
while_they_read upgraded_3_times_by_reload repeat 3 upgrade_by_reload
while_they_read stopped_and_started stop_and_start
while_they_read clock_a_year_forth step_clock $year_s
while_they_read clock_two_years_back step_clock $((-2 * year_s))
while_they_read clock_right_again step_clock $year_s
enter_phase last
check readers_end reads_were_good last end
check the_supervisor_still_has_the_hosts_mounts sees_the_hosts_mounts
check descriptors_are_still_stored stores_descriptors

check container_begins_with_a_slot begin_container slotted slave $slots
check everything_is_lost lose_everything
check the_slot_shows_the_host_then wait_for shows_the_host slotted
check service_starts_again systemctl start resview
check the_view_is_mounted_anew answers
check the_slot_shows_the_view_again wait_for shows slotted 196608

check container_begins_without_a_slot begin_container bound private $view
inits="$(init_of slotted) $(init_of bound)"
check package_is_removed dpkg -r resview
check the_view_is_gone not is_mounted
check the_slot_shows_the_host_at_last shows_the_host slotted
check what_is_bound_without_a_slot_says_so is_dead_in bound
check containers_run_on [ "$(init_of slotted) $(init_of bound)" = "$inits" ]
check package_is_purged dpkg -P resview
check nothing_is_left nothing_left

check_node

if [ $failed -gt 0 ]; then
    journalctl --no-pager -u resview -n 100
fi
[ $failed = 0 ] && word=ok || word=FAILED
echo "test result: $word. $passed passed; $failed failed; 0 ignored"
[ $failed = 0 ]
