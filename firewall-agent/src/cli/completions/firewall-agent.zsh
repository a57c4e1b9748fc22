#compdef firewall-agent
# Completion of firewall-agent. The program itself finds the candidates; zsh quotes them.
_firewall-agent() {
    local -a typed values shown directories
    local answer line value
    typed=("${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}")
    answer=$(command firewall-agent completions zsh -- "${typed[@]}" 2>/dev/null)
    for line in "${(@f)answer}"; do
        value=${line%%$'\t'*}
        case $value in
            '') ;;
            */) directories+=("$value") ;;
            *)
                values+=("$value")
                shown+=("${line/$'\t'/  -- }")
                ;;
        esac
    done
    compadd -l -V values -d shown -- "${values[@]}"
    compadd -S '' -- "${directories[@]}"
    (( $#values + $#directories ))
}
if [[ ${funcstack[1]} == _firewall-agent ]]; then
    _firewall-agent "$@"
else
    compdef _firewall-agent firewall-agent
fi
