"""Vector stores of other libraries over a collection: LangChain, LlamaIndex.

langchain.py
    ``OmenVectorStore`` and ``LiveRetriever`` (the extra ``langchain``).
llama_index.py
    ``OmenVectorStore`` (the extra ``llama-index``).

They know the public clients alone, and stand on the synchronous one, which threads and event loops
may share. Nothing of the project imports them.
"""
