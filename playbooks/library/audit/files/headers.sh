# Lines of proxies that hide who comes. A gateway that is told nothing takes whoever comes for the
# host itself, and the token alone makes an administrator of him. Settings are looked for where
# they lie, and not by which program is installed: containers have their own and mount them.
programs='caddy nginx apache2 httpd traefik haproxy'
any="($(echo $programs | tr ' ' '|'))"
running=$(cat /proc/[0-9]*/comm 2>/dev/null | grep -xE "$any" | sort -u)
installed=$(for p in $programs; do command -v "$p"; done)
of_containers() { command -v docker >/dev/null && timeout 20 docker ps -q 2>/dev/null | xargs -r timeout 20 docker inspect --format "$1" 2>/dev/null; }
list() {
  # shellcheck disable=SC2046 # each is a folder
  find -L $(for p in $programs; do echo "/etc/$p /usr/local/etc/$p"; done) /usr/local/nginx/conf /var/lib/caddy/.config \
    -type f -size -1024k ! -path '*-available/*' 2>/dev/null
  find /opt /srv /root /home -xdev -maxdepth 5 -name node_modules -prune -o -type f -size -1024k \( -iname '*caddyfile*' -o -name '*.caddy' \
    -o -path '*nginx*.conf' -o -path '*apache*.conf' -o -path '*httpd*.conf' -o -name 'haproxy*.cfg' -o -path '*traefik*.y*ml' \
    -o -path '*traefik*.toml' -o -name '*compose*.y*ml' -exec grep -qE "$any" {} ';' \) -print 2>/dev/null
  of_containers '{{range .Mounts}}{{println .Source .Destination}}{{end}}' | grep -E "^/[^ ]+ /(etc|config|usr/local)(/.*)?$any" |
    while read -r place _; do find -L "$place" -maxdepth 3 -type f -size -1024k 2>/dev/null; done
}
files=$(list | sort -u)
[ -n "$files$running$installed" ] || { echo "missing: there is no proxy, and no settings of one"; exit 0; }

# Apache sends its own headers after those that RequestHeader unsets: only ProxyAddHeaders ends that.
strips() {
  grep -nEi -e '^[^#]*(header_up|request_header)[[:space:]]+"?-("?x-forwarded-|"?forwarded|(x-?)?\*)' \
    -e '^[^#]*(proxy|grpc)_set_header[[:space:]]+(x-forwarded-[a-z]+|forwarded)[[:space:]]+(""|'"''"')' \
    -e '^[^#]*ProxyAddHeaders[[:space:]]+off' \
    -e '^[^#]*customrequestheaders\.(x-forwarded-[a-z]+|forwarded)[[:space:]]*[=:][[:space:]]*["'"'"']*[[:space:]]*$' \
    -e '^[[:space:]]*"?(x-forwarded-[a-z]+|forwarded)"?[[:space:]]*[:=][[:space:]]*(""|'"''"')[[:space:]]*$' "$1" | cut -d: -f1
  case $1 in *.json) tr -s '[:space:]' ' ' <"$1" | grep -qEi '"delete" ?: ?\[[^]]*"(x-forwarded-|forwarded|(x-)?\*)' && echo 1 ;; esac
}
# nginx and HAProxy tell nothing that their settings do not have them tell. What HAProxy removes
# there are the words of clients, before it adds its own.
silent() {
  here="^[^#]*:$GATEWAY_PORT([^0-9]|\$)"
  case $1 in
    *nginx*) passes='proxy_pass[[:space:]]' tells='proxy_set_header[[:space:]]+(x-forwarded-for|x-real-ip|forwarded)[[:space:]]+[^"'"'"']' ;;
    *haproxy*) passes='server[[:space:]]' tells='(option[[:space:]]+forwardfor|http-request[[:space:]]+(set|add)-header[[:space:]]+(x-forwarded-for|forwarded))' ;;
    *) return ;;
  esac
  grep -qE "$here" "$1" || return
  included=$(sed -nE 's/^[^#]*include[[:space:]]+([^;[:space:]]+);.*/\1/p' "$1")
  # shellcheck disable=SC2086 # a name with * stands for many
  (cd /etc/nginx 2>/dev/null || cd "$(dirname "$1")" && grep -qsEi "^[^#]*$tells" "$1" $included) || grep -nE "^[^#]*$passes" "$1" | head -n 1 | cut -d: -f1
}
echo "$files" | while read -r f; do
  [ -n "$f" ] || continue
  [ -r "$f" ] || { echo "unread $f"; continue; }
  strips "$f" | sed "s|^|strips $f:|"
  silent "$f" | sed "s|^|silent $f:|"
done
of_containers '{{$n := .Name}}{{range $k, $v := .Config.Labels}}{{println $n $k $v}}{{end}}' |
  sed -nE 's,^/([^ ]+) traefik[^ ]*customrequestheaders\.(x-forwarded-[a-z]+|forwarded) *$,strips labels of \1,Ip' | sort -u
for p in $running; do
  { echo "$files"; echo "$files" | tr '\n' '\0' | xargs -0 -r cat 2>/dev/null; } | grep -qi "$p" || echo "unread settings of $p, which runs and has none in these places"
done
[ "$(id -u)" = 0 ] || echo "unread /root and /home, which only root sees"
echo "read $(echo "$files" | grep -c .) files"
