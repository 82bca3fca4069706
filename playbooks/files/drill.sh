#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
#
# One event of the playbook drill, on the host. It runs apart from the session that starts it, so that a connection which
# the event cuts leaves nothing half-done. A guard, apart from both, stands by before anything is stopped: however the
# drill ends, the firewalls that were up are up again, or the end says which are not.
#
# usage: drill.sh start ID EVENT [FIREWALL...]
#   firewall   restart the firewalls
#   reload     stop them, unload conntrack with all that needs it, load it, start them
#   reboot     make ready for a reboot: nothing else changes this host until it comes
#   boot       nothing: the host has been rebooted, and what its boot starts is waited for
# An event that was started already under this ID is not started again.
#
# drill.sh run ID EVENT [FIREWALL...] and drill.sh guard are what is started.
#
# How an event ended, "done" or what went wrong, is the one line of HOME/ID/EVENT/end. HOME/armed tells the guard what was up.
# shellcheck disable=SC2317 # some are called by await
set -u
LC_ALL=C
export LC_ALL
home=/var/lib/headroom/drill
lock=/run/headroom.netfilter.lock
hold=/etc/headroom/netfilter.hold
guard=conntrack-drill-guard.service
# Seconds for all between the stop and the firewall seen up. The guard puts an end to a drill that takes longer.
bound=600
# A lost connection ends nothing.
trap '' HUP

has_systemd() { [ -d /run/systemd/system ]; }

uptime() {
    read -r seconds _ </proc/uptime
    echo "${seconds%%.*}"
}

log() { logger -t conntrack-drill -- "$1" 2>/dev/null || echo "$1"; }

end() { # TEXT: of the event, once; in a line that the controller takes
    echo "$1" | paste -s -d ' ' - | cut -c 1-300 >"$home/$id/$event/end.new"
    mv "$home/$id/$event/end.new" "$home/$id/$event/end"
}

finish() { # TEXT
    end "$1"
    log "drill $id, $event: $1"
    exit
}

# What starts a firewall hands no lock on to it.
service_do() { # VERB NAME...
    verb=$1
    shift
    for service in "$@"; do
        if has_systemd; then
            systemctl "$verb" "$service.service"
        elif [ "$verb" = stop ]; then
            # Whoever waits for the lock waits for this as well, though the drill be killed.
            service "$service" stop
        else
            service "$service" "$verb" 8>&- 9>&-
        fi
    done
}

is_up() { # FIREWALL: firewalld's unit is active seconds before firewalld is; a restart in between unloads nothing
    if [ "$1" = firewalld ]; then
        firewall-cmd --state
    elif has_systemd; then
        systemctl is-active "$1.service"
    else
        service "$1" status
    fi >/dev/null 2>&1
}

is_booted() { # Also when something in it has failed.
    case $(systemctl is-system-running 2>/dev/null) in
        initializing | starting) return 1 ;;
    esac
}

await() { # SECONDS COMMAND...: until it is true
    left=$1
    shift
    until "$@"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        sleep 1
    done
}

down() { # FIREWALL...: those which are not up, and have not come up in two minutes
    for firewall in "$@"; do
        await 120 is_up "$firewall" || echo "$firewall"
    done | paste -s -d ' ' -
}

# What systemd stops together with a firewall and does not start with it, as fail2ban.
companions() { # FIREWALL...
    ! has_systemd || for firewall in "$@"; do
        for unit in $(systemctl show -p ConsistsOf -p RequiredBy -p BoundBy "$firewall.service" | sed 's/^[^=]*=//'); do
            ! systemctl is-active --quiet "$unit" || echo "$unit"
        done
    done | paste -s -d ' ' -
}

stack() { # MODULE: all that needs it, as they can be unloaded one by one, and it last; some come twice
    while read -r name _ _ users _; do
        [ "$name" = "$1" ] || continue
        for user in $(echo "$users" | tr ',' ' '); do
            [ "$user" = - ] || stack "$user"
        done
    done </proc/modules
    echo "$1"
}

held() { # MODULE...: those which something else than a module uses
    while read -r name _ uses users _; do
        case " $* " in *" $name "*) ;; *) continue ;; esac
        for user in $(echo "$users" | tr ',' ' '); do
            [ "$user" = - ] || uses=$((uses - 1))
        done
        [ "$uses" -eq 0 ] || echo "$name ($uses)"
    done </proc/modules
}

reload_modules() { # Says what went wrong, if anything did.
    # shellcheck disable=SC2046 # names of modules have no blanks
    set -- $(stack nf_conntrack)
    # The kernel lets go of a firewall's rules some time after the firewall has stopped.
    left=10
    while holders=$(held "$@") && [ -n "$holders" ]; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || {
            echo "rules or containers that outlast the firewall hold" "$holders," "so that nothing was unloaded;" \
                "remove them, or leave drill_reload out on this host"
            return
        }
        sleep 1
    done
    for module in "$@"; do
        [ ! -d "/sys/module/$module" ] || modprobe -r "$module" 2>&1 || {
            echo "$module cannot be unloaded; leave drill_reload out on this host"
            break
        }
    done
    modprobe nf_conntrack 2>&1 || echo "nf_conntrack cannot be loaded; look at /etc/modprobe.d"
}

# The lock: one for all that changes what conntrack is on this host. It is held by this file being open, and so till death.

locked() {
    (umask 077 && : >>"$lock")
    # At each try, for whoever takes the file away makes room for another one of that name.
    exec 9>>"$lock"
    flock -n 9
}

sign() { printf %s "$1, process $$, since $(date -u +%FT%TZ)" >"$lock"; }

holder() {
    text=$(head -c 200 "$lock" | tr -cd ' -~')
    echo "${text:-another change, which has not said its name}"
}

# The guard. It stands by before HOME/armed is written, and waits for the lock, which a drill has for as long as it lives.

unit() {
    cat <<END
[Unit]
Description=Has the firewall up again where a drill of headroom.netfilter is cut off

[Service]
ExecStart=/bin/sh $home/guard.sh guard
Restart=on-failure
RestartForceExitStatus=SIGTERM
RestartSec=3
END
}

on_guard() {
    flock -n "$home/guard.lock" true
    [ $? -eq 1 ]
}

arm() { # FIREWALL...
    cp -- "$0" "$home/guard.new" && mv "$home/guard.new" "$home/guard.sh" || return
    if has_systemd; then
        # A boot in between starts it as well. Where /etc cannot be written, a boot starts what is enabled.
        for units in /etc/systemd/system /run/systemd/system; do
            mkdir -p "$units/multi-user.target.wants" && unit >"$units/$guard" &&
                ln -sf "../$guard" "$units/multi-user.target.wants/$guard" && break
        done 2>/dev/null
        systemctl start "$guard" || { systemctl daemon-reload && systemctl start "$guard"; } || return
    else
        setsid /bin/sh "$home/guard.sh" guard </dev/null >/dev/null 2>&1 9>&- &
    fi
    await 10 on_guard || return
    also=$(companions "$@")
    # On the disk before anything is stopped.
    printf '%s\n' "$id" "$event" "$$" "$(($(uptime) + bound))" "$*" "$also" | dd of="$home/armed" conv=fsync 2>/dev/null
}

disarm() {
    rm -f "$home/armed"
    for units in /etc/systemd/system /run/systemd/system; do
        rm -f "$units/$guard" "$units/multi-user.target.wants/$guard"
    done
}

armed() { # Reads what a drill has left, if it has.
    [ -e "$home/armed" ] || return
    id='' event='' process='' limit='' firewalls='' also=''
    { read -r id && read -r event && read -r process && read -r limit && read -r firewalls && read -r also; } <"$home/armed"
    [ -n "$limit" ]
}

# Puts right what a drill has left that was cut off.
mend() (
    armed || exit
    [ "$event" != reload ] || modprobe nf_conntrack
    # shellcheck disable=SC2086 # names of units have no blanks
    set -- $firewalls
    service_do start "$@"
    lacking=$(down "$@")
    # shellcheck disable=SC2086
    [ -z "$lacking" ] || { service_do start $lacking && lacking=$(down $lacking); }
    # shellcheck disable=SC2086
    [ -z "$also" ] || systemctl start $also
    text="cut off before its end; what was up before was started again"
    [ -z "$lacking" ] || text="cut off before its end; not up again: $lacking; look at its log and start it"
    [ -e "$home/$id/$event/end" ] || end "$text"
    log "drill $id, $event: $text"
)

stand_guard() {
    exec 8>>"$home/guard.lock"
    flock 8
    until locked; do
        if armed && [ "$(uptime)" -gt "$limit" ]; then
            # What stands there may have another number's place.
            tr '\0' ' ' <"/proc/$process/cmdline" | grep -qF "$home/$id/" && kill -s KILL -- "-$process"
            await 10 locked
            break
        fi
        sleep 1
    done
    sign "the guard of a drill"
    mend
    disarm
    # While the lock is held, who arms next is not to take this one for a guard.
    exec 8>&-
}

# The event.

run() { # ID EVENT [FIREWALL...]
    id=$1
    event=$2
    shift 2
    # Nothing but its end ends it: the firewall may be down.
    trap '' TERM
    await 60 locked || finish "this host is held by $(holder); nothing was done"
    sign "drill $id ($event)"
    [ ! -e "$hold" ] || finish "this host is on hold: $(head -c 200 "$hold" | tr -cd ' -~'); remove $hold; nothing was done"
    mend
    disarm
    forget
    problem=
    case $event in
        firewall | reload)
            problem=$(down "$@")
            [ -z "$problem" ] || finish "not up before: $problem; nothing was done"
            # Time for the answer to whoever started this.
            sleep 1
            arm "$@" || {
                disarm
                finish "no guard stands by that would have the firewall up again; nothing was done"
            }
            disturb "$@"
            ;;
        reboot)
            end ready
            trap - TERM
            await 300 false
            finish "no reboot came in five minutes"
            ;;
    esac
    lacking=$(down "$@")
    if [ -n "$lacking" ]; then
        advice="look at its log and start it"
        # The commonest reason: started by hand, for this boot alone.
        [ "$event" != boot ] || advice="see whether it is enabled, $advice"
        problem="${problem:+$problem; }not up again after two minutes: $lacking; $advice"
    else
        disarm
    fi
    ! has_systemd || await 120 is_booted
    ! command -v udevadm >/dev/null || udevadm settle --timeout=60
    finish "${problem:-done}"
}

disturb() { # FIREWALL...
    if [ "$event" = firewall ]; then
        service_do restart "$@"
        # One that has failed gets another try; one that is active stays as it is.
        service_do start "$@"
    else
        service_do stop "$@"
        problem=$(reload_modules)
        service_do start "$@"
    fi
    # shellcheck disable=SC2086 # names of units have no blanks
    [ -z "$also" ] || systemctl start $also
}

forget() { # The ends of all but the last runs.
    # shellcheck disable=SC2012 # names of runs are letters, digits, dots and dashes
    ls -1td "$home"/*/ | tail -n +6 | while read -r old; do
        [ "$old" = "$home/$id/" ] || rm -rf "$old"
    done
}

start() { # ID EVENT [FIREWALL...]
    command -v flock >/dev/null || { echo "flock is needed, of util-linux" >&2 && exit 1; }
    { mkdir -p "${lock%/*}" && (umask 077 && mkdir -p "$home/$1"); } || exit
    # Sent again, by a connection that was lost and made anew.
    mkdir "$home/$1/$2" || { [ -d "$home/$1/$2" ] && exit; }
    script=$home/$1/$2/drill.sh
    cp -- "$0" "$script" && printf '%s ' "$2" >>"$home/$1/events" || exit
    if has_systemd; then
        exec systemd-run --quiet --unit="conntrack-drill-$1-$2" /bin/sh "$script" run "$@"
    fi
    setsid /bin/sh "$script" run "$@" </dev/null >/dev/null 2>&1 &
}

verb=$1
shift
case $verb in
    start) start "$@" ;;
    run) run "$@" ;;
    guard) stand_guard ;;
esac
