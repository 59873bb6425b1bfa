#compdef confd_client
# Completion of confd_client for zsh. Load it with: source <(confd_client completion zsh)
_confd_client() {
    local -a names shown
    local line
    while IFS= read -r line; do
        names+=("${line%%$'\t'*}")
        shown+=("${line/$'\t'/  -- }")
    done < <(command confd_client _complete zsh "${(@Q)words[2,CURRENT]}" 2>/dev/null)
    if (( ${#names} )); then
        compadd -l -d shown -a names
    elif [[ ${words[CURRENT-1]} == --ca ]]; then
        _files
    fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _confd_client "$@"
else
    compdef _confd_client confd_client
fi
