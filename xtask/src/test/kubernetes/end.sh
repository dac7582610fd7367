print_table
conclude tail -n 30 "$work"/*.log
