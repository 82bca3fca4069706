#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
#
# One event of the playbook drill, on the host. It runs apart from the session that starts it, so that a connection which
# the event cuts leaves nothing half-done: the firewalls are up again at the end, or the result says which are not.
#
# usage: drill.sh EVENT [FIREWALL...]
#   firewall   restart the firewalls
#   reload     stop them, unload conntrack with all that needs it, load it, start them
#   reboot     nothing: the host has been rebooted, and what its boot starts is waited for
#
# The result, "done" or what went wrong, is the one line of /run/conntrack_drill/EVENT.
# shellcheck disable=SC2317 # some are called by await
set -u
LC_ALL=C
export LC_ALL
home=/run/conntrack_drill

has_systemd() { [ -d /run/systemd/system ]; }

if [ "$1" != apart ]; then
    (umask 077 && mkdir -p "$home")
    rm -f "$home/$1"
    cp -- "$0" "$home/drill.sh"
    if has_systemd; then
        systemctl reset-failed conntrack-drill.service 2>/dev/null # of an earlier run that was killed
        exec systemd-run --quiet --unit=conntrack-drill /bin/sh "$home/drill.sh" apart "$@"
    fi
    setsid /bin/sh "$home/drill.sh" apart "$@" </dev/null >/dev/null 2>&1 &
    exit
fi
shift
event=$1
shift
# Nothing but its end ends it: the firewall may be down.
trap '' HUP TERM

finish() {
    echo "$1" | paste -s -d ' ' - >"$home/$event.new"
    mv "$home/$event.new" "$home/$event"
    exit
}

service_do() { # VERB NAME...
    verb=$1
    shift
    for service in "$@"; do
        if has_systemd; then
            systemctl "$verb" "$service.service"
        else
            service "$service" "$verb"
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

await() { # COMMAND...: until it is true, two minutes at most
    left=120
    until "$@"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        sleep 1
    done
}

down() { # FIREWALL...: those which are not up, and have not come up while waited for
    for firewall in "$@"; do
        await is_up "$firewall" || echo "$firewall"
    done | paste -s -d ' ' -
}

# What systemd stops together with a firewall and does not start with it, as fail2ban.
companions() { # FIREWALL...
    for firewall in "$@"; do
        for unit in $(systemctl show -p ConsistsOf -p RequiredBy -p BoundBy "$firewall.service" | sed 's/^[^=]*=//'); do
            ! systemctl is-active --quiet "$unit" || echo "$unit"
        done
    done
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

if [ "$event" != reboot ]; then
    problem=$(down "$@")
    [ -z "$problem" ] || finish "not up before: $problem; nothing was done"
    # Time for the answer to whoever started this.
    sleep 1
fi
problem=
case $event in
    firewall)
        service_do restart "$@"
        # One that has failed gets another try; one that is active stays as it is.
        service_do start "$@"
        ;;
    reload)
        also=$(has_systemd && companions "$@")
        service_do stop "$@"
        problem=$(reload_modules)
        service_do start "$@"
        # shellcheck disable=SC2086 # names of units have no blanks
        [ -z "$also" ] || systemctl start $also
        ;;
esac
lacking=$(down "$@")
if [ -n "$lacking" ]; then
    advice="look at its log and start it"
    # The commonest reason: started by hand, for this boot alone.
    [ "$event" != reboot ] || advice="see whether it is enabled, $advice"
    problem="${problem:+$problem; }not up again after two minutes: $lacking; $advice"
fi
! has_systemd || await is_booted
! command -v udevadm >/dev/null || udevadm settle --timeout=60
finish "${problem:-done}"
