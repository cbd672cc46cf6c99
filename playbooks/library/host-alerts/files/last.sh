# How the last look went: who took nothing, and how long ago it was.
for file in /run/holdfast-watch/broken-*; do
	[ ! -f "$file" ] || echo "${file##*/broken-} took nothing: $(cat "$file")"
done
looked=$(stat -c %Y /run/holdfast-watch/looked) || exit
echo "seconds $(($(date +%s) - looked))"
