print_table
if [ $failed -gt 0 ]; then
    tail -n 30 "$work"/*.log
fi
[ $failed = 0 ] && word=ok || word=FAILED
echo "test result: $word. $passed passed; $failed failed; 0 ignored"
[ $failed = 0 ]
