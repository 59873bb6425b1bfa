# Completion of confd_client for fish. Load it with: confd_client completion fish | source
function __confd_client_complete
    set -l words (commandline -opc) (commandline -ct)
    command confd_client _complete fish $words[2..-1] 2>/dev/null
end
complete -c confd_client -f -a '(__confd_client_complete)'
