# Turns openai-proxy.service into openai-proxy@.service: one of several daemons on this machine, named by its port.
s|^# openai_proxy as a system service\..*|# One of several openai_proxy daemons on this machine, each named by its port: openai-proxy@8001.|
s|^# Change it with `systemctl edit openai-proxy`|# Change it with `systemctl edit openai-proxy@`|
s|^Description=.*|Description=openai_proxy on port %i|
s|^# --host and --port can be set in proxy.yaml.*|# A load balancer on this machine is in front; docs/scaling.md.|
s|^    --config-dir |    --host 127.0.0.1 --port %i --config-dir |
s#^\(StateDirectory\|LogsDirectory\|CacheDirectory\)=openai-proxy$#\1=openai-proxy-%i#
s|%S/openai-proxy$|%S/openai-proxy-%i|
s|%S/openai-proxy |%S/openai-proxy-%i |
s|/var/log/openai-proxy/  /var/lib/openai-proxy/|/var/log/openai-proxy-PORT/  /var/lib/openai-proxy-PORT/|
