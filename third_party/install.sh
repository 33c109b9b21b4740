# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
#
# Installs what the project needs: Debian's packages, by the list beside this file, and a LuaJIT
# built from Debian's own source package. Sourced by ./dev, which sets `root` and declares say, die.
#
# Of the system only packages change. Services that come with a package are neither started nor
# left enabled, and apt's sources stay as they are: the source package is fetched through a private
# copy of the machine's own entries.

luajit_dir=$root/.deps/luajit
luajit_made='LUAJIT_ENABLE_CHECKHOOK, loops over pairs, memory out in traces' # changes with luajit_patch

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# --------------------------------------------------------------------------------------- packages

# packages_missing GROUP...: names of the listed packages whose proof is not there.
packages_missing() {
    local package proof group
    while read -r package proof group; do
        case $package in '' | '#'*) continue ;; esac
        case " $* " in *" $group "*) ;; *) continue ;; esac
        case $proof in
        */*) [ -e "$proof" ] || echo "$package" ;;
        *) command -v "$proof" >/dev/null || echo "$package" ;;
        esac
    done <"$root/third_party/packages"
}

# packages_install GROUP...: quiet when nothing is missing.
packages_install() {
    local missing
    mapfile -t missing < <(packages_missing "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null ||
        die "these Debian packages are missing, and there is no apt-get: ${missing[*]}"
    if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
        die "some packages are missing; as root: apt-get install ${missing[*]}"
    fi
    say "installing ${missing[*]}"
    mkdir -p "$root/build"
    packages_install_quietly "${missing[@]}" >"$root/build/install.log" 2>&1 || {
        tail -n 20 "$root/build/install.log" >&2
        die "installing failed (build/install.log); as root: apt-get install ${missing[*]}"
    }
    mapfile -t missing < <(packages_missing "$@")
    [ ${#missing[@]} = 0 ] || die "installed, but still not found: ${missing[*]}"
}

packages_install_quietly() {
    local policy=/usr/sbin/policy-rc.d own_policy='' status=0 before after
    if [ ! -e $policy ]; then
        # 101 keeps packages from starting their services while they are installed.
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
        as_root chmod 755 $policy
        own_policy=yes
        trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    before=$(services_enabled)
    as_root apt-get update || true # another source may be out of reach
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends "$@" || status=$?
    after=$(services_enabled)
    services_disable "$(comm -13 <(echo "$before") <(echo "$after"))" || status=$?
    if [ -n "$own_policy" ]; then
        as_root rm -f $policy
        trap - EXIT
    fi
    return $status
}

# The links that make a service start by itself: systemd's, and those of System V.
services_enabled() {
    find /etc/systemd/system /etc/rc[0-9S].d -type l \
        \( -path '*.wants/*' -o -path '*.requires/*' -o -name 'S[0-9]*' \) 2>/dev/null | sort
}

# services_disable LINKS: undoes what the packages just installed have enabled.
services_disable() {
    local link name
    while read -r link; do
        [ -n "$link" ] || continue
        name=$(basename "$link")
        case $link in
        /etc/rc*) as_root update-rc.d "${name#S[0-9][0-9]}" disable ;;
        *)
            if command -v systemctl >/dev/null; then as_root systemctl disable "$name"; fi
            as_root rm -f "$link"
            ;;
        esac
    done <<<"$1"
}

# ----------------------------------------------------------------------------------------- LuaJIT

# Builds LuaJIT with LUAJIT_ENABLE_CHECKHOOK into .deps/luajit, once: only so can a time limit stop a
# compiled loop. Where that fails the build takes the packaged library, which is said.
luajit_install() {
    ! luajit_is_there || return 0
    mkdir -p "$root/build" "$root/.deps"
    say "building LuaJIT from Debian's source package (once)"
    (
        flock 9
        luajit_is_there || luajit_build >"$root/build/luajit.log" 2>&1
    ) 9>"$root/.deps/lock" || {
        rm -rf "$luajit_dir"
        say "LuaJIT could not be built (build/luajit.log): taking the packaged one, whose compiled loops no time limit stops"
    }
}

# Whether the one that is there was made with the present corrections.
luajit_is_there() {
    [ "$(cat "$luajit_dir/CHECKHOOK" 2>/dev/null)" = "$luajit_made" ]
}

luajit_build() (
    set -e # a subshell tested by || would go on after an error: every step is chained instead
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    luajit_fetch "$work" &&
        luajit_patch "$work"/luajit-*/ &&
        luajit_make "$work"/luajit-*/ &&
        luajit_check "$work" &&
        echo "$luajit_made" >"$luajit_dir/CHECKHOOK"
)

luajit_fetch() {
    local work=$1
    local apt=(-o "Dir::Etc::sourcelist=$work/none" -o "Dir::Etc::sourceparts=$work/sources.d"
        -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
    mkdir -p "$work/sources.d" "$work/lists/partial" "$work/cache/archives/partial" &&
        luajit_sources "$work/sources.d" &&
        apt-get "${apt[@]}" update &&
        (cd "$work" && apt-get "${apt[@]}" source luajit)
}

# The machine's entries for its own release of Debian, with deb-src for deb.
luajit_sources() {
    local out=$1 codename file n=0
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME") || return 1
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -r "$file" ] || continue
        n=$((n + 1))
        awk -v release="^$codename([-/].*)?$" '
            $1 == "deb" && !/cdrom:/ {
                for (i = 3; i <= NF; i++) if ($i ~ release) { sub(/deb/, "deb-src"); print; break }
            }' "$file" >"$out/$n.list"
    done
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -r "$file" ] || continue
        n=$((n + 1))
        awk -v release="^$codename([-/].*)?$" '
            function flush() { if (ours) printf "%s\n", entry; entry = ""; ours = 0 }
            /^[ \t]*$/ { flush(); next }
            /^Types:/ { $0 = "Types: deb-src" }
            /^Suites:/ { for (i = 2; i <= NF; i++) if ($i ~ release) ours = 1 }
            { entry = entry $0 "\n" }
            END { flush() }' "$file" >"$out/$n.sources"
    done
}

# With LUAJIT_ENABLE_CHECKHOOK every trace begins with the three instructions that look at the hook,
# but the recorder of loops over pairs takes any instruction for a sign that it has gone around once:
# it would compile an empty loop, which never ends. So it has to count from behind the three.
#
# And when memory is refused to a trace, the error looks at the frame that L->base shows, which a trace
# leaves as it was before: a stale one, at times a crash. The trace's own is in jit_base.
luajit_patch() {
    local file=$1/src/lj_record.c error=$1/src/lj_err.c
    sed -i 's/J->cur\.nins > REF_FIRST+1 ||/J->cur.nins > REF_FIRST+4 ||/
        s/J->cur\.nins == REF_FIRST+1 && J->cur\.ir\[REF_FIRST\]\.o/J->cur.nins == REF_FIRST+4 \&\& J->cur.ir[REF_FIRST+3].o/' "$file" &&
        [ "$(grep -c 'REF_FIRST+4 ||\|REF_FIRST+4 &&' "$file")" = 2 ] &&
        sed -i '/^LJ_NOINLINE void lj_err_mem(lua_State \*L)$/,/^}/s/^  if (curr_funcisL(L)) {$/  if (LJ_HASJIT \&\& tvref(G(L)->jit_base)) L->base = tvref(G(L)->jit_base);\n&/' "$error" &&
        [ "$(grep -c 'L->base = tvref(G(L)->jit_base);$' "$error")" = 1 ]
}

# The prefix is the package's, so that modules of Debian's packages are found where they are.
luajit_make() {
    local source=$1 header
    make -C "$source" -j2 amalg PREFIX=/usr MULTILIB=lib/x86_64-linux-gnu BUILDMODE=static \
        CCDEBUG=-g CFLAGS=-fPIC \
        XCFLAGS="-DLUAJIT_ENABLE_CHECKHOOK -DLUAJIT_ENABLE_GC64" &&
        rm -rf "$luajit_dir" &&
        install -d "$luajit_dir/lib" "$luajit_dir/include/luajit-2.1" &&
        install -m 644 "$source/src/libluajit.a" "$luajit_dir/lib/libluajit-5.1.a" &&
        for header in lua.h lauxlib.h lualib.h luaconf.h luajit.h; do
            install -m 644 "$source/src/$header" "$luajit_dir/include/luajit-2.1/" || return 1
        done
}

# A compiled loop over pairs must end by itself, and an endless one when a hook is set from outside.
luajit_check() {
    gcc -I"$luajit_dir/include/luajit-2.1" "$root/third_party/checkhook.c" \
        "$luajit_dir/lib/libluajit-5.1.a" -lm -ldl -o "$1/checkhook" &&
        timeout 30 "$1/checkhook"
}
