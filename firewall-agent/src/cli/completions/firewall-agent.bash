# Completion of firewall-agent. The program itself finds the candidates and quotes them.
_firewall_agent() {
    COMPREPLY=()
    # Home directories are readline's business.
    if [[ $2 == '~'* ]]; then
        compopt -o default
        return
    fi
    mapfile -t COMPREPLY < <(command firewall-agent completions bash -- "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]]; then
        compopt -o nospace
    fi
}
complete -o nosort -F _firewall_agent firewall-agent
