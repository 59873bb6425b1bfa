# Completion of confd_client for bash. Load it with: source <(confd_client completion bash)
_confd_client() {
    local IFS=$'\n'
    COMPREPLY=($(command confd_client _complete bash "${COMP_LINE:0:COMP_POINT}" 2>/dev/null))
    if [[ ${#COMPREPLY[@]} -eq 0 && ${COMP_WORDS[COMP_CWORD-1]} == --ca ]]; then
        COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"))
    fi
}
complete -F _confd_client confd_client
