# Completion of firewall-agent. The program itself finds the candidates; fish quotes them.
function __firewall_agent_candidates
    set --local before (commandline --current-process --tokenize --cut-at-cursor)
    set --local current (commandline --current-token --cut-at-cursor)
    set --local plain (string unescape -- "$current" 2>/dev/null; or string trim --left --chars '"\'' -- "$current")
    command firewall-agent completions fish -- $before "$plain" 2>/dev/null
end
complete --command firewall-agent --no-files --keep-order --arguments '(__firewall_agent_candidates)'
