"""Other people's interfaces over the clients: stores of LangChain and LlamaIndex, and MCP.

langchain.py
    ``OmenVectorStore`` and ``LiveRetriever`` (the extra ``langchain``).
llama_index.py
    ``OmenVectorStore`` (the extra ``llama-index``).
mcp_server.py, mcp_tools.py, mcp_watches.py
    an MCP server: what it answers, what its tools are, live queries as resources (the extra
    ``mcp``).

They know the public clients alone. The stores stand on the synchronous one, which threads and event
loops may share. Only a command imports any of this.
"""
