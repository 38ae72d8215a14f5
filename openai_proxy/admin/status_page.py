"""The status page: one small document that reads /admin/status every two seconds. No assets, no outside hosts."""

PAGE = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>openai_proxy</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root{color-scheme:light dark}
body{font:15px/1.45 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.3rem}h2{font-size:1.05rem;margin:1.6rem 0 .4rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .7rem .25rem 0;vertical-align:top}
th{font-weight:600;opacity:.7}tr+tr{border-top:1px solid #8884}
.good{color:#2a8c4a}.bad{color:#c0392b}.dim{opacity:.65}
</style></head><body>
<h1>openai_proxy <span id="version" class="dim"></span></h1><p id="line" class="dim">reading the status</p>
<h2>Connections</h2><table id="connections"></table>
<h2>MCP servers</h2><table id="servers"></table>
<h2>Running requests</h2><table id="requests"></table>
<h2>Configuration problems</h2><table id="problems"></table>
<script>
const cell=(row,text,kind)=>{const c=row.insertCell();c.textContent=text??"";if(kind)c.className=kind};
const fill=(id,heads,rows)=>{const t=document.getElementById(id);t.replaceChildren();
 if(!rows.length){cell(t.insertRow(),"none","dim");return}
 const h=t.insertRow();for(const x of heads){const th=document.createElement("th");th.textContent=x;h.append(th)}
 for(const r of rows){const row=t.insertRow();for(const c of r)Array.isArray(c)?cell(row,c[0],c[1]):cell(row,c)}};
const mood=s=>[s,s==="ready"?"good":s==="disabled"||s==="stopped"?"dim":"bad"];
async function look(){try{
 const r=await fetch("admin/status",{headers:{accept:"application/json"}});
 if(!r.ok)throw new Error((await r.json()).error.message);
 const s=await r.json();
 document.getElementById("version").textContent=s.version;
 document.getElementById("line").textContent="up since "+s.started_at+", configuration "+s.config.generation+
  " loaded at "+s.config.loaded_at;
 fill("connections",["name","type","state","models","last error"],
  s.connections.map(c=>[c.name,c.api_type,mood(c.state),c.models,c.last_error]));
 fill("servers",["name","type","state","tools","restarts","last error"],
  s.mcp_servers.map(m=>[m.name,m.type,mood(m.state),(m.tools||[]).length,m.restarts,m.last_error]));
 fill("requests",["id","model","state","connection","seconds"],
  s.requests.map(q=>[q.id,q.model,q.state,q.connection,q.seconds]));
 fill("problems",["place","what is wrong"],s.config.problems.map(p=>[p.file+":"+p.line+":"+p.column,p.message]));
}catch(e){document.getElementById("line").textContent=e.message}
setTimeout(look,2000)}
look();
</script></body></html>
"""
