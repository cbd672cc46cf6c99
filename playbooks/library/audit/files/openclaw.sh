# State, environment and token of gateways. Whether a token is there is printed, never the token.
# What settings switch on that goes past pairing or origins, on one line so that JSON5 may be
# written in any way; what is behind // says nothing.
doors() {
  text=$(sed 's,^[[:space:]]*//.*,,' "$1" | tr -s '[:space:]' ' ')
  for name in dangerouslyDisableDeviceAuth allowInsecureAuth dangerouslyAllowHostHeaderOriginFallback; do
    printf %s "$text" | grep -qE "[\"']?$name[\"']? ?: ?true" && echo "door $1 $name"
  done
  printf %s "$text" | grep -qE "[\"']?admin-http-rpc[\"']? ?: ?\{([^{}]|\{[^{}]*\})*[\"']?enabled[\"']? ?: ?true" && echo "door $1 admin-http-rpc"
  echo "settings $1"
}
found=
for home in $(awk -F: '($3 == 0 || $3 >= 1000) && $3 < 60000 {print $6}' /etc/passwd | sort -u); do
  for state in "$home"/.openclaw "$home"/openclaw; do
    [ -d "$state" ] || continue
    found=yes
    case $state in */.openclaw)
      echo "state $state $(stat -c '%a %U' "$state")"
      f=$state/openclaw.json
      if [ -e "$f" ]; then
        [ -r "$f" ] && doors "$f"
        [ -r "$f" ] && { grep -qE '"?token"?[[:space:]]*:[[:space:]]*("[^"]+"|\{)' "$f" && echo "token $f"; } || [ -r "$f" ] || echo "unreadable $f"
      fi ;;
    esac
    for env in "$state"/.env "$state"/*.env; do
      [ -f "$env" ] || continue
      echo "env $env $(stat -c '%a %U' "$env")"
      if [ -r "$env" ]; then grep -qE '^[[:space:]]*(export[[:space:]]+)?OPENCLAW_GATEWAY_TOKEN=["]?[^"[:space:]]' "$env" && echo "token $env"; else echo "unreadable $env"; fi
    done
  done
done
for env in /opt/openclaw/.env /etc/openclaw/*.env; do
  [ -f "$env" ] || continue
  found=yes
  echo "env $env $(stat -c '%a %U' "$env")"
  if [ -r "$env" ]; then grep -qE '^[[:space:]]*OPENCLAW_GATEWAY_TOKEN=["]?[^"[:space:]]' "$env" && echo "token $env"; else echo "unreadable $env"; fi
done
[ "$found" = yes ] || { [ "$(id -u)" = 0 ] && echo "missing: there is no OpenClaw here" || echo "unknown: homes of others cannot be looked into"; }
exit 0
