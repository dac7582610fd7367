# The checks at a control plane.
take_down() { control_plane_down; }
start_control_plane() { control_plane_up; }

set_up start_control_plane
# Pods come to life on no node here, but nothing is missing to make them.
is_current() { kubectl version --output json | is '(.serverVersion.minor | tonumber) >= 36'; }
check control-plane is_current is_current
deploy_checks
webhook_checks
